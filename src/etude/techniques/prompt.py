"""Prompt tuning: a few learned vectors before every row (https://arxiv.org/abs/2104.08691)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from etude.errors import ConfigError, ModelError
from etude.techniques.base import generator_of
from etude.techniques.leading import LeadingTokens, count_problems, described_tokens, embedding_of

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey


@dataclass(frozen=True, kw_only=True)
class PromptTuning(LeadingTokens):
    """Train the embeddings of virtual tokens; wants a learning rate a hundred times that of LoRA."""

    kind: Literal["prompt"] = "prompt"
    tokens: int = 20
    """How many virtual tokens stand before every row."""
    text: str | None = None
    """Words to start from, cut or repeated to the number of tokens; random tokens of the vocabulary if left out."""

    def problems(self) -> list[tuple[str, str]]:
        empty = [("text", "must hold at least one word")] if self.text is not None and not self.text.strip() else []
        return [*count_problems(self.tokens), *empty]

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        from etude.models.layers.virtual import VirtualTokens

        name, vocabulary, _ = embedding_of(model)
        embedding: Any = model.module.get_input_embeddings()
        yield name, VirtualTokens(embedding, self._start(model, name, vocabulary, seed))

    def _start(self, model: LoadedModel, name: str, vocabulary: int, seed: int) -> Tensor:
        import torch

        if self.text is None:
            ids = torch.randint(vocabulary, (self.tokens,), generator=generator_of(seed, name))
        else:
            words = model.tokenizer(self.text, add_special_tokens=False)["input_ids"]
            if not words:
                raise ConfigError("has no tokens for this model", where="technique.text")
            ids = torch.tensor(list(itertools.islice(itertools.cycle(words), self.tokens)))
        embedding: Any = model.module.get_input_embeddings()
        with torch.no_grad():
            return torch.as_tensor(embedding(ids.to(embedding.weight.device)).float())

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        return described_tokens(model, "PROMPT_TUNING", self.tokens, prompt_tuning_init="RANDOM")

    @classmethod
    def from_peft(cls, config: Mapping[str, Any], folder: Path) -> PromptTuning:
        """The technique that an adapter_config.json describes.

        Raises:
            ModelError: virtual tokens for an encoder and a decoder apart.
        """
        if config.get("num_transformer_submodules") not in (None, 1):
            raise ModelError("holds virtual tokens for several parts of a model", where=str(folder))
        return cls(tokens=int(config["num_virtual_tokens"]))
