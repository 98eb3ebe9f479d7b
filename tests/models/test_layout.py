"""The attention groups of a tree: each token in one slot, each segment with exactly its ancestors, little padding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Batch, Sample, TokenRow
from etude.models.layout import LENGTH_STEP, SPLIT_ABOVE, layout_of
from etude.packing import pack

rows_of_tokens = st.lists(st.lists(st.integers(3, 4), min_size=1, max_size=20), min_size=1, max_size=8)


def batch_of(rows: list[list[int]], min_shared: int = 1) -> Batch:
    """Each row is followed by a learned token, so that all of it has to be computed."""
    samples = [Sample(str(i), (TokenRow((*row, 9), (*[0.0] * len(row), 1.0)),)) for i, row in enumerate(rows)]
    return pack(samples, min_shared=min_shared)


@given(rows=rows_of_tokens, min_shared=st.integers(1, 9), padding=st.integers(0, 3))
def test_groups_cover_each_token_once_and_know_its_ancestors(
    rows: list[list[int]], min_shared: int, padding: int
) -> None:
    batch = batch_of(rows, min_shared)
    layout = layout_of(batch, padding=padding)
    end = batch.end_T.tolist()
    placed: list[int] = []
    for group in layout.groups:
        grid = group.token_of_slot_SN.view(group.num_segments, group.length)
        real = torch.zeros(grid.numel(), dtype=torch.bool)
        real[group.slot_of_token] = True
        above = [] if group.ancestors_A is None else group.ancestors_A.tolist()
        for tokens, is_real in zip(grid.tolist(), real.view_as(grid).tolist(), strict=True):
            own = [token for token, keep in zip(tokens, is_real, strict=True) if keep]
            assert own == list(range(own[0], own[0] + len(own)))
            assert set(tokens[len(own) :]) <= {own[0]}, "padding repeats the first token"
            assert [*above, *own] == [j for j in range(own[-1] + 1) if own[-1] < end[j]]
        assert group.length % LENGTH_STEP == 0
        placed += group.token_of_slot_SN[group.slot_of_token].tolist()
    num_tokens = len(end)
    assert sorted(placed) == list(range(num_tokens))
    assert [placed[i] for i in layout.order_T[:num_tokens].tolist()] == list(range(num_tokens))
    assert layout.order_T[num_tokens:].tolist() == [num_tokens] * padding, "padding points at the row of zeros"
    assert torch.equal(layout.position_T[: len(batch.position_T)], batch.position_T)
    assert layout.position_T[len(batch.position_T) :].tolist() == [0] * padding


def test_siblings_of_very_different_lengths_are_kept_apart() -> None:
    long, short = [3] * (3 * SPLIT_ABOVE), [4] * 5
    batch = batch_of([long, short, [5] * 7], min_shared=100)
    assert [(g.num_segments, g.length) for g in layout_of(batch).groups] == [(1, 3 * SPLIT_ABOVE), (2, LENGTH_STEP)]


def test_short_siblings_share_one_group() -> None:
    batch = batch_of([[3] * 30, [4] * 3, [5] * 9], min_shared=100)
    assert [(g.num_segments, g.length) for g in layout_of(batch).groups] == [(3, 32)]
