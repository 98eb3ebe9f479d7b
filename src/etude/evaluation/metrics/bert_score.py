"""BERTScore (https://arxiv.org/abs/1904.09675) with any encoder: words that mean the same may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from etude.errors import EtudeError
from etude.evaluation.metrics.base import Answered, Metric, Problem, Scored

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class BertScore(Metric):
    """F1 of greedily matched token embeddings, not rescaled: compare it only between models on the same task."""

    encoder: str = ""
    """A folder with an encoder and its tokenizer, relative to the task file, or a hub name."""
    layer: int = -1
    """Which hidden layer's states are compared; -1: the last."""

    primary: ClassVar[str] = "bert_score"

    def problems(self) -> list[tuple[str, str]]:
        return [] if self.encoder else [("encoder", "missing; the metric 'bert_score' needs one")]

    def beside(self, folder: Path) -> Self:
        local = folder / Path(self.encoder).expanduser()
        return replace(self, encoder=str(local)) if local.is_dir() else self

    def settings(self) -> dict[str, Any]:
        return {"encoder": Path(self.encoder).name, "layer": self.layer}

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [(place, "the reference is empty") for place, one in enumerate(references) if not one.strip()]

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """
        Raises:
            EtudeError: the encoder cannot be read.
        """
        texts = [text for one in answered for text in (one.answer, one.reference)]
        states = embedded(texts, self.encoder, self.layer)
        return [Scored({self.primary: _f1(states[2 * place], states[2 * place + 1])}) for place in range(len(answered))]


def embedded(texts: Sequence[str], encoder: str, layer: int) -> list[Tensor]:
    """Unit vectors of each text's tokens, control tokens left out: [tokens, size] each."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        model = AutoModel.from_pretrained(encoder, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise EtudeError(f"is no encoder that can be read: {str(error).splitlines()[0]}", where=encoder) from error
    found: list[Tensor] = []
    for start in range(0, len(texts), BATCH):
        part = tokenizer(
            list(texts[start : start + BATCH]), return_tensors="pt", padding=True, truncation=True,
            max_length=min(tokenizer.model_max_length, 512), return_special_tokens_mask=True,
        )  # fmt: skip
        special = part.pop("special_tokens_mask").bool()
        with torch.no_grad():
            states = model(**part, output_hidden_states=True).hidden_states[layer].float()
        unit = torch.nn.functional.normalize(states, dim=-1)
        found += [unit[row][~special[row]] for row in range(len(unit))]
    return found


def _f1(answer: Tensor, reference: Tensor) -> float:
    if not len(answer) or not len(reference):
        return 0.0
    alike = answer @ reference.T
    precision, recall = float(alike.amax(1).mean()), float(alike.amax(0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
