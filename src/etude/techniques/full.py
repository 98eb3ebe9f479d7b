"""Full fine-tuning: every weight of the base model learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from etude.techniques.whole import WholeModel

if TYPE_CHECKING:
    from torch import nn

    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey


@dataclass(frozen=True, kw_only=True)
class Full(WholeModel):
    """Train all weights; needs the memory of gradients and optimizer state for each of them."""

    kind: Literal["full"] = "full"
    embeddings: bool = True
    """Whether the token embeddings (and a head tied to them) learn too."""

    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]:
        """Marks the weights; no weight is fresh, so the seed changes nothing here."""
        frozen = set() if self.embeddings else {id(p) for p in model.module.get_input_embeddings().parameters()}
        trainable = {name: p for name, p in model.module.named_parameters() if id(p) not in frozen}
        for parameter in trainable.values():
            parameter.requires_grad_(True)
        return trainable
