"""P-tuning: virtual tokens that a small network computes while it learns (https://arxiv.org/abs/2103.10385)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from etude.techniques.base import generator_of
from etude.techniques.leading import LeadingTokens, count_problems, described_tokens, embedding_of

if TYPE_CHECKING:
    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

SEEN = 4096
"""Tokens of the vocabulary that tell how long its vectors are."""


@dataclass(frozen=True, kw_only=True)
class PTuning(LeadingTokens):
    """Train an encoder of virtual tokens; what it computes in the end is all that is stored."""

    kind: Literal["p-tuning"] = "p-tuning"
    tokens: int = 20
    """How many virtual tokens stand before every row."""
    encoder: Literal["mlp", "lstm"] = "mlp"
    """What computes them: a plain network, or a recurrent one before it, as in the paper."""
    hidden: int = 256
    """Width of the encoder's inner layers."""

    def problems(self) -> list[tuple[str, str]]:
        narrow = [("hidden", f"must be at least 1, got {self.hidden}")] if self.hidden < 1 else []
        return [*count_problems(self.tokens), *narrow]

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        import torch

        from etude.models.layers.virtual import Encoder, VirtualTokens

        name, _, width = embedding_of(model)
        embedding: Any = model.module.get_input_embeddings()
        spread = embedding.weight[:SEEN].float().std()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_of(seed, name).initial_seed())
            rows = torch.randn(self.tokens, width)
            encoder = Encoder(width, self.hidden, recurrent=self.encoder == "lstm")
            with torch.no_grad():  # the first tokens look like the vocabulary's
                last: Any = encoder.layers[-1]
                last.weight *= spread.to(rows.device) / encoder(rows).std()
                last.bias.zero_()
        yield name, VirtualTokens(embedding, rows, encoder=encoder.to(embedding.weight.device))

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        made = {"encoder_reparameterization_type": self.encoder.upper(), "encoder_hidden_size": self.hidden}
        return described_tokens(model, "P_TUNING", self.tokens, **made)
