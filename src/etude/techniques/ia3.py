"""(IA)³: a learned factor on each key, value and inner activation (https://arxiv.org/abs/2205.05638)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from etude.errors import ModelError
from etude.techniques.layerwise import Layerwise, described
from etude.techniques.targets import linear_layers

if TYPE_CHECKING:
    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey


@dataclass(frozen=True, kw_only=True)
class IA3(Layerwise):
    """Train three vectors a layer; wants a learning rate some thirty times that of LoRA."""

    kind: Literal["ia3"] = "ia3"
    targets: tuple[str, ...] = ("k_proj", "v_proj")
    """Last parts of the names of layers whose outputs are scaled."""
    feed_forward: tuple[str, ...] = ("down_proj",)
    """Last parts of the names of layers whose inputs are scaled."""

    def problems(self) -> list[tuple[str, str]]:
        both = set(self.targets) & set(self.feed_forward)
        found = [("feed_forward", f"{name!r} is among targets too") for name in sorted(both)]
        return found if self.targets or self.feed_forward else [("targets", "must name at least one layer")]

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        from etude.models.layers.scaled import ScaledLinear

        for setting, targets in (("targets", self.targets), ("feed_forward", self.feed_forward)):
            for name, linear in linear_layers(model, targets, where=f"technique.{setting}"):
                yield name, ScaledLinear(linear, inputs=setting == "feed_forward")

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        return described(
            model,
            "IA3",
            target_modules=[*self.targets, *self.feed_forward],
            feedforward_modules=list(self.feed_forward),
            fan_in_fan_out=False,
            init_ia3_weights=True,
            modules_to_save=None,
        )

    @classmethod
    def from_peft(cls, config: Mapping[str, Any], folder: Path) -> IA3:
        """The technique that an adapter_config.json describes.

        Raises:
            ModelError: layers named by a regular expression, or other weights stored beside the vectors.
        """
        targets, inner = config.get("target_modules"), config.get("feedforward_modules") or ()
        if not isinstance(targets, list) or isinstance(inner, str) or config.get("modules_to_save"):
            raise ModelError("uses IA3 settings that are not supported", where=str(folder))
        return cls(targets=tuple(one for one in targets if one not in inner), feed_forward=tuple(inner))
