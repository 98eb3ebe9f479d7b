"""Samples merged into a packed prefix tree (radix trie): a prefix that several rows share is held once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from etude.batch import Batch, Sample, Segment, TokenRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SHARED = 8
"""Fewer common tokens than this are not worth a branch: each branch costs attention a group of its own."""


@dataclass(slots=True)
class _Tree:
    """The trie under construction, depth-first."""

    tokens: list[np.ndarray] = field(default_factory=list)
    position: list[np.ndarray] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    """For each segment, one past its last descendant."""
    length: int = 0
    node_of: dict[int, list[np.ndarray]] = field(default_factory=dict)
    """For each row, the tree's index of each of its tokens, in pieces."""

    def add_segment(self, tokens: np.ndarray, depth: int, parent: int, rows: Sequence[int]) -> int:
        start, stop = self.length, self.length + len(tokens)
        self.tokens.append(tokens)
        self.position.append(np.arange(depth, depth + len(tokens)))
        self.segments.append(Segment(start, stop, parent))
        self.end.append(stop)
        nodes = np.arange(start, stop)
        for row in rows:
            self.node_of.setdefault(row, []).append(nodes)
        self.length = stop
        return len(self.segments) - 1


def pack(samples: Sequence[Sample], *, share: bool = True, min_shared: int = MIN_SHARED) -> Batch:
    """One batch from samples; sites come row by row, in the rows' order.

    Tokens that no site has to see (a row's last learned one, what follows it) are left out of the tree. With
    `share=False`, or nothing in common, this is ordinary padding-free packing.
    """
    rows = [row for sample in samples for row in sample.rows]
    assert rows, "a batch needs at least one row"
    arrays = [np.asarray(row.tokens[: num_seen(row)], dtype=np.int64) for row in rows]
    tree = _Tree()
    order = sorted(range(len(rows)), key=lambda at: in_order(arrays[at])) if share else list(range(len(rows)))
    common = _common_with_next(arrays, order) if share else [0] * len(order)
    _grow(tree, arrays, order, common, depth=0, parent=-1, min_shared=max(1, min_shared))
    end_T = _ends(tree)
    site, target, weight, row_of_site = _sites(rows, tree)
    return Batch(
        tokens_T=torch.from_numpy(np.concatenate(tree.tokens)),
        position_T=torch.from_numpy(np.concatenate(tree.position)),
        end_T=torch.from_numpy(end_T),
        site_S=torch.from_numpy(site),
        target_S=torch.from_numpy(target),
        weight_S=torch.from_numpy(weight),
        row_S=torch.from_numpy(row_of_site),
        value_R=torch.tensor([row.value for row in rows], dtype=torch.float32),
        sample_weight_P=torch.tensor([sample.weight for sample in samples], dtype=torch.float32),
        segments=tuple(tree.segments),
        sample_ids=tuple(sample.id for sample in samples),
        sample_of_row=tuple(i for i, sample in enumerate(samples) for _ in sample.rows),
        num_row_tokens=sum(len(row.tokens) for row in rows),
        given_S=_given(rows),
    )


def num_seen(row: TokenRow) -> int:
    """Tokens before the last learned one (at least one)."""
    learned = np.flatnonzero(np.asarray(row.weights, dtype=np.float32))
    return max(1, int(learned[-1])) if len(learned) else 1


def in_order(tokens: Sequence[int] | NDArray[np.integer]) -> bytes:
    """A key that sorts rows as their token ids would, number by number, but in one comparison of bytes."""
    return np.asarray(tokens).astype(">u4").tobytes()


def num_common(a: Sequence[int] | NDArray[np.integer], b: Sequence[int] | NDArray[np.integer]) -> int:
    """Tokens that two rows have in common from their beginning on."""
    n = min(len(a), len(b))
    unequal = np.flatnonzero(np.asarray(a[:n]) != np.asarray(b[:n]))
    return int(unequal[0]) if len(unequal) else n


def _common_with_next(arrays: Sequence[np.ndarray], order: Sequence[int]) -> list[int]:
    """Tokens that each row, in sorted order, has in common with the next one."""
    return [*(num_common(arrays[this], arrays[following]) for this, following in itertools.pairwise(order)), 0]


def _grow(
    tree: _Tree,
    arrays: Sequence[np.ndarray],
    order: Sequence[int],
    common: Sequence[int],
    *,
    depth: int,
    parent: int,
    min_shared: int,
) -> None:
    """Lays out the sorted rows `order`, equal up to `depth`, below the segment `parent`.

    An explicit stack, not recursion: chains of prefixes of prefixes may be as deep as there are rows.
    """
    stack = [(0, len(order), depth, parent)]
    while stack:
        low, high, depth, parent = stack.pop()
        shared = min(common[low : high - 1], default=0)
        if high - low > 1 and shared - depth >= min_shared:
            rows = order[low:high]
            parent = tree.add_segment(arrays[order[low]][depth:shared], depth, parent, rows)
            depth = shared
        children = list(_clusters(common, low, high, depth + min_shared))
        if len(children) == 1 and high - low > 1:
            children = [(i, i + 1) for i in range(low, high)]
        singles = [child for child in children if child[1] - child[0] == 1]
        if len(children) == len(singles):
            for at, _ in singles:
                _add_leaf(tree, arrays, order[at], depth, parent)
        else:
            stack.extend((start, stop, depth, parent) for start, stop in reversed(children))


def _clusters(common: Sequence[int], low: int, high: int, at_least: int) -> Iterator[tuple[int, int]]:
    """Runs of neighbours that have at least so many tokens in common."""
    start = low
    for i in range(low, high - 1):
        if common[i] < at_least:
            yield start, i + 1
            start = i + 1
    yield start, high


def _add_leaf(tree: _Tree, arrays: Sequence[np.ndarray], row: int, depth: int, parent: int) -> None:
    rest = arrays[row][depth:]
    if len(rest):
        tree.add_segment(rest, depth, parent, [row])


def _ends(tree: _Tree) -> np.ndarray:
    """One past the last descendant of each token: children come after their parent, so one pass backwards does it."""
    for i in range(len(tree.segments) - 1, -1, -1):
        parent = tree.segments[i].parent
        if parent >= 0:
            tree.end[parent] = max(tree.end[parent], tree.end[i])
    lengths = [segment.stop - segment.start for segment in tree.segments]
    return np.repeat(np.asarray(tree.end, dtype=np.int64), lengths)


def _given(rows: Sequence[TokenRow]) -> dict[str, torch.Tensor]:
    """Each named number of the learned tokens, in the order of the sites; all rows bring the same names."""
    found: dict[str, torch.Tensor] = {}
    for name in rows[0].given:
        parts = [np.asarray(row.given[name], dtype=np.float32)[np.flatnonzero(row.weights)] for row in rows]
        found[name] = torch.from_numpy(np.concatenate(parts))
    return found


def _sites(rows: Sequence[TokenRow], tree: _Tree) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    site, target, weight, row_of_site = [], [], [], []
    for i, row in enumerate(rows):
        weights, tokens = np.asarray(row.weights, dtype=np.float32), np.asarray(row.tokens, dtype=np.int64)
        assert len(weights) == len(tokens), f"row {i}: one weight a token"
        assert weights[0] == 0, f"row {i}: nothing predicts the first token"
        learned = np.flatnonzero(weights)
        nodes = np.concatenate(tree.node_of[i])
        site.append(nodes[learned - 1])
        target.append(tokens[learned])
        weight.append(weights[learned])
        row_of_site.append(np.full(len(learned), i, dtype=np.int64))
    return np.concatenate(site), np.concatenate(target), np.concatenate(weight), np.concatenate(row_of_site)
