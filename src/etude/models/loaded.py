"""A base model in memory, and what everything that asks a model accepts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from etude.models.layers.value_head import ValueHead
    from etude.models.options import Checkpointing


Way = Literal["fused", "tree", "rows"]
"""Packed trees through joined products and C kernels; packed trees through transformers' own layers; padded rows."""


class Subject(Protocol):
    """Anything that can be asked: a base model, a policy, a policy as it was before training, a run."""

    @property
    def name(self) -> str: ...

    def use(self) -> AbstractContextManager[LoadedModel]:
        """The model to ask, valid inside the `with` block (adapters on or off as the subject demands)."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model with its tokenizer, in evaluation mode."""

    name: str
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    """The folder with config, safetensors and tokenizer that it came from."""
    base_hash: str
    """sha256 over config and weights: what an adapter belongs to."""
    way: Way
    """How hidden states are computed (proven by a probe at load)."""
    checkpointing: Checkpointing = "auto"
    """Whether activations are computed again in the backward pass."""
    value_head: ValueHead | None = None
    """A number for each place of a row, where the model is a reward model or has a critic."""

    @property
    def packs(self) -> bool:
        """Whether packed prefix trees give the same log-probabilities as plain rows."""
        return self.way != "rows"

    def use(self) -> AbstractContextManager[LoadedModel]:
        return nullcontext(self)
