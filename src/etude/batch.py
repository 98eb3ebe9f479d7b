"""What passes through one step: a packed prefix tree, the scores of its sites, and the loss.

Shape letters: T tokens of the tree, S sites (scored predictions), R rows (sequences before packing), P samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from etude.errors import EtudeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, device


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One rendered sequence: its token ids and how strongly each is learned, as tuples or as arrays.

    `weights[i]` belongs to the prediction *of* token i from those before it, so `weights[0]` is 0.
    """

    tokens: Sequence[int] | NDArray[np.int32]
    weights: Sequence[float] | NDArray[np.float32]
    value: float = 0.0
    """What is known of the row as a whole, by the objective: a judgement, a margin, a reward."""
    given: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Further numbers for each token, by name: log-probabilities when it was written, advantages."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training item: a row, or several that must stay in one batch (chosen and rejected, a GRPO group)."""

    id: str
    rows: tuple[TokenRow, ...]
    weight: float = 1.0
    """How much the item counts in the loss and in its figures, where each item is a term of it."""

    @property
    def num_tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens without a branch, [start, stop) in the tree's order; `parent` is a segment's index or -1."""

    start: int
    stop: int
    parent: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences merged into a trie and laid out depth-first, so that a shared prefix is computed once.

    Token i may see token j iff `j <= i < end_T[j]`. Exact because a causal model's hidden state depends on the
    prefix alone. A token can hold several sites (a branch), a site several rows' predictions of one target.
    """

    tokens_T: Tensor
    position_T: Tensor
    """Distance from the root, for position embeddings and sliding windows."""
    end_T: Tensor
    """One past the last descendant."""
    site_S: Tensor
    """Index of the token *before* the target."""
    target_S: Tensor
    weight_S: Tensor
    row_S: Tensor
    value_R: Tensor
    """What is known of each row as a whole, float32."""
    sample_weight_P: Tensor
    """How much each sample counts, float32."""
    segments: tuple[Segment, ...]
    sample_ids: tuple[str, ...]
    sample_of_row: tuple[int, ...]
    """Index into `sample_ids` for each row."""
    num_row_tokens: int
    """Tokens of all rows before sharing: what a padded or flat batch would have computed, padding left out."""
    given_S: Mapping[str, Tensor] = field(default_factory=dict)
    """Further numbers for each site, by name, float32."""

    @property
    def lengths_S(self) -> Tensor:
        """For each site, how many sites its row has, float32."""
        import torch

        counts_R = torch.bincount(self.row_S, minlength=self.num_rows)
        return counts_R[self.row_S].float()

    def given(self, name: str, otherwise: Tensor | None = None) -> Tensor:
        """Numbers that came with the rows; an error where they did not and nothing stands in for them."""
        found = self.given_S.get(name, otherwise)
        if found is None:
            raise EtudeError(f"the objective asked for {name!r}, which the rows did not bring")
        return found

    @property
    def num_rows(self) -> int:
        return len(self.sample_of_row)

    def to(self, where: device | str) -> Batch:
        """The same batch with its tensors on another device."""
        names = (
            "tokens_T", "position_T", "end_T", "site_S", "target_S", "weight_S", "row_S", "value_R", "sample_weight_P"
        )  # fmt: skip
        given_S = {name: one.to(where) for name, one in self.given_S.items()}
        return replace(self, given_S=given_S, **{name: getattr(self, name).to(where) for name in names})


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer update: this rank's micro-batches, and the ids of all ranks' samples in their global order."""

    batches: tuple[Batch, ...]
    sample_ids: tuple[str, ...]
    epoch: float
    """Passes over the data when this step is done."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each site, shape S, float32: log-probabilities of its target, nats, by the policy and its reference; a value
    head's numbers; the distance to a teacher's distribution, nats; the logarithm of the sum of all tokens' squared
    probabilities by the policy. What an objective does not need is absent."""

    policy_S: Tensor
    reference_S: Tensor | None = None
    values_S: Tensor | None = None
    teacher_S: Tensor | None = None
    squares_S: Tensor | None = None

    def need(self, name: str) -> Tensor:
        """The named scores, or an error that says what the objective should have declared."""
        found: Tensor | None = getattr(self, f"{name}_S")
        if found is None:
            raise EtudeError(
                f"the objective asked for {name!r} scores that were not computed",
                remedy=f"set needs_{name} = True in the objective",
            )
        return found


@dataclass(frozen=True, slots=True)
class Loss:
    """A *sum* over the batch: the loop alone divides, by the count over the whole step and all ranks."""

    total: Tensor
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Further sums to log, divided by the same count."""
