"""How attention walks a packed prefix tree: groups of sibling segments that share the same ancestors.

Shape letters: T tokens, S segments of a group, N their padded length, A ancestor tokens.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from etude.batch import Batch, Segment

LENGTH_STEP = 8
BLOCK = 32
"""Tokens that the attention kernels take at once."""
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
class Layout:
    """Everything attention needs to know about one batch."""

    groups: tuple[Group, ...]
    order_T: Tensor
    """For each token, its place in the groups' outputs laid end to end; padding points at a row of zeros after them."""
    position_T: Tensor
    """Distance of each token from the root; 0 for padding."""
    tree_S4: Tensor
    """For each segment its first token, one past its last, its parent or -1, and its first block of BLOCK tokens."""
    num_blocks: int

    @property
    def num_tokens(self) -> int:
        """Tokens of the tree, padding left out."""
        return sum(len(group.slot_of_token) for group in self.groups)


def layout_of(batch: Batch, *, padding: int = 0) -> Layout:
    """The groups of a batch, siblings of very different lengths apart so that little is padded.

    `padding` further tokens at the end attend to nothing and come out as zeros.
    """
    device = batch.tokens_T.device
    siblings: dict[int, list[Segment]] = defaultdict(list)
    for segment in batch.segments:
        siblings[segment.parent].append(segment)
    groups: list[Group] = []
    placed: list[Tensor] = []
    for parent, segments in siblings.items():
        ancestors = _ancestor_tokens(batch.segments, parent)
        for similar in _by_length(segments):
            groups.append(_group(similar, ancestors, device))
            placed.append(torch.cat([torch.arange(one.start, one.stop) for one in similar]))
    tokens_in_order = torch.cat(placed)
    order_T = torch.empty_like(tokens_in_order)
    order_T[tokens_in_order] = torch.arange(len(tokens_in_order))
    order_T = torch.nn.functional.pad(order_T, (0, padding), value=len(tokens_in_order))
    tree_S4, num_blocks = _blocks(batch.segments)
    return Layout(
        groups=tuple(groups),
        order_T=order_T.to(device),
        position_T=torch.nn.functional.pad(batch.position_T, (0, padding)),
        tree_S4=tree_S4.to(device),
        num_blocks=num_blocks,
    )


def _blocks(segments: Sequence[Segment]) -> tuple[Tensor, int]:
    """The segments as the kernels read them, and how many blocks they make."""
    sizes = [-(-(one.stop - one.start) // BLOCK) for one in segments]
    firsts = itertools.accumulate(sizes, initial=0)
    rows = [(one.start, one.stop, one.parent, first) for one, first in zip(segments, firsts, strict=False)]
    return torch.tensor(rows), sum(sizes)


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
