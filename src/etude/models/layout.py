"""How attention walks a packed prefix tree: groups of sibling segments that share the same ancestors.

Shape letters: T tokens, R rows, S segments of a group, N their padded length, A ancestor tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etude.batch import Batch, Segment

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

LENGTH_STEP = 8
LONGEST_RUN = 1024
BLOCK = 32
"""Tokens that the C kernels of attention take at once."""
SPLIT_ABOVE = 64


@dataclass(frozen=True, slots=True)
class Group:
    """Segments with the same ancestors, padded to one length inside attention only."""

    num_segments: int
    length: int
    token_of_slot_SN: Tensor
    """Token index for each slot of the padded grid; padding repeats the segment's first token."""
    rows_SN: Tensor
    """The same with -1 in padding."""
    slot_of_token: Tensor
    """Slot in the grid for each real token, in grid order."""
    ancestors_A: Tensor | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch without a branch: rows laid end to end, padding as one more."""

    starts_R: Tensor
    """Where each row starts, and one past the end of the last; int32."""
    longest: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The segments in blocks of up to BLOCK tokens, as the C kernels read them."""

    tree_S4: Tensor
    """For each segment its first token, one past its last, its parent or -1, and its first block; int64."""
    number: int


@dataclass(frozen=True)
class Layout:
    """Everything attention needs to know about one batch; what its kernel does not ask for is never made."""

    segments: tuple[Segment, ...]
    position_T: Tensor
    """Distance of each token from the root; 0 for padding."""
    end_T: Tensor
    """One past the last descendant of each token; padding sees itself alone."""
    padding: int
    masks: dict[int | None, BlockMask] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `gpu_attention` made of this, by sliding window, for all layers."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the tree, padding left out."""
        return len(self.end_T) - self.padding

    @cached_property
    def blocks(self) -> Blocks:
        """The tree cut for the C kernels."""
        sizes = [-(-(one.stop - one.start) // BLOCK) for one in self.segments]
        firsts = accumulate(sizes, initial=0)
        rows = [(one.start, one.stop, one.parent, first) for one, first in zip(self.segments, firsts, strict=False)]
        return Blocks(torch.tensor(rows), sum(sizes))

    @property
    def groups(self) -> tuple[Group, ...]:
        return self._groups_and_order[0]

    @property
    def order_T(self) -> Tensor:
        """For each token, its place in the groups' outputs laid end to end; padding points at zeros after them."""
        return self._groups_and_order[1]

    @cached_property
    def rows(self) -> Rows | None:
        """Where the rows are, if none of them shares anything."""
        if any(segment.parent >= 0 for segment in self.segments):
            return None
        stops = [segment.stop for segment in self.segments]
        if self.padding:
            stops.append(stops[-1] + self.padding)
        starts = [0, *stops]
        return Rows(
            starts_R=torch.tensor(starts, dtype=torch.int32, device=self.end_T.device),
            longest=max(stop - start for start, stop in pairwise(starts)),
        )

    @cached_property
    def _groups_and_order(self) -> tuple[tuple[Group, ...], Tensor]:
        """The groups of a batch, siblings of very different lengths apart so that little is padded."""
        device = self.end_T.device
        siblings: dict[int, list[Segment]] = defaultdict(list)
        runs = _in_runs(self.segments)
        for segment in runs:
            siblings[segment.parent].append(segment)
        groups: list[Group] = []
        placed: list[Tensor] = []
        for parent, segments in siblings.items():
            ancestors = _ancestor_tokens(runs, parent)
            for similar in _by_length(segments):
                groups.append(_group(similar, ancestors, device))
                placed.append(torch.cat([torch.arange(one.start, one.stop) for one in similar]))
        tokens_in_order = torch.cat(placed)
        order_T = torch.empty_like(tokens_in_order)
        order_T[tokens_in_order] = torch.arange(len(tokens_in_order))
        order_T = nn.functional.pad(order_T, (0, self.padding), value=len(tokens_in_order))
        return tuple(groups), order_T.to(device)


def layout_of(batch: Batch, *, padding: int = 0) -> Layout:
    """The layout of a batch with `padding` further tokens at the end, which nothing else sees."""
    num_tokens = len(batch.end_T)
    of_padding = torch.arange(num_tokens + 1, num_tokens + padding + 1, device=batch.end_T.device)
    return Layout(
        segments=batch.segments,
        position_T=nn.functional.pad(batch.position_T, (0, padding)),
        end_T=torch.cat([batch.end_T, of_padding]),
        padding=padding,
    )


def _in_runs(segments: Sequence[Segment]) -> list[Segment]:
    """Long segments as chains of shorter ones, so that no table of scores is longer than a run on both sides."""
    runs: list[Segment] = []
    last_run: list[int] = []
    for segment in segments:
        parent = last_run[segment.parent] if segment.parent >= 0 else -1
        for start in range(segment.start, segment.stop, LONGEST_RUN):
            runs.append(Segment(start, min(start + LONGEST_RUN, segment.stop), parent))
            parent = len(runs) - 1
        last_run.append(parent)
    return runs


def _ancestor_tokens(segments: Sequence[Segment], parent: int) -> Tensor | None:
    ranges: list[Tensor] = []
    while parent >= 0:
        ranges.append(torch.arange(segments[parent].start, segments[parent].stop))
        parent = segments[parent].parent
    return torch.cat(ranges[::-1]) if ranges else None


def _by_length(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Siblings from long to short, cut where the longest of a run is over twice the next one."""
    run: list[Segment] = []
    for segment in sorted(segments, key=lambda one: (one.start - one.stop, one.start)):
        longest = run[0].stop - run[0].start if run else 0
        if run and longest > SPLIT_ABOVE and longest > 2 * (segment.stop - segment.start):
            yield run
            run = []
        run.append(segment)
    yield run


def _group(segments: Sequence[Segment], ancestors: Tensor | None, device: torch.device) -> Group:
    starts = torch.tensor([one.start for one in segments])
    lengths = torch.tensor([one.stop - one.start for one in segments])
    longest = -(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP
    offset_N = torch.arange(longest)
    real_SN = offset_N[None] < lengths[:, None]
    token_SN = starts[:, None] + torch.where(real_SN, offset_N[None], 0)
    return Group(
        num_segments=len(segments),
        length=longest,
        token_of_slot_SN=token_SN.reshape(-1).to(device),
        rows_SN=torch.where(real_SN, token_SN, -1).reshape(-1).to(device),
        slot_of_token=real_SN.reshape(-1).nonzero()[:, 0].to(device),
        ancestors_A=None if ancestors is None else ancestors.to(device),
    )
