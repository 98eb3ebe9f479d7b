"""The packed prefix tree: every row is on its path, nothing else is visible, nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Batch, Sample, TokenRow
from etude.packing import MIN_SHARED, pack

WEIGHTS = (0.0, 0.5, 1.0, 2.0)

prefixes = st.lists(st.integers(3, 5), max_size=14)
token_lists = st.lists(st.integers(3, 5), min_size=1, max_size=10)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Rows that often share prefixes, are prefixes of each other, or equal; one to three rows a sample."""
    shared = draw(st.lists(prefixes, min_size=1, max_size=3))
    found = []
    for i in range(draw(st.integers(1, 6))):
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            tokens = (*draw(st.sampled_from(shared)), *draw(token_lists))
            weights = (0.0, *(draw(st.sampled_from(WEIGHTS)) for _ in tokens[1:]))
            rows.append(TokenRow(tokens, weights))
        found.append(Sample(f"s{i}", tuple(rows)))
    return found


def plain(rows: Sequence[Sequence[int]]) -> list[Sample]:
    """Rows that a learned token follows, so that all of the given ones have to be computed."""
    return [Sample(str(i), (TokenRow((*r, 2), (0.0, *[1.0] * len(r))),)) for i, r in enumerate(rows)]


def computed(row: TokenRow) -> tuple[int, ...]:
    """The tokens that some site of the row has to see; the first in any case."""
    learned = [i for i, weight in enumerate(row.weights) if weight]
    return row.tokens[: max(learned, default=1)]


def seen_by(batch: Batch) -> list[list[int]]:
    """For each token the tokens it sees, by the documented rule alone."""
    end = batch.end_T.tolist()
    return [[j for j in range(i + 1) if i < end[j]] for i in range(len(end))]


def rows_of(given_samples: Sequence[Sample]) -> list[TokenRow]:
    return [row for sample in given_samples for row in sample.rows]


def check_sites(batch: Batch, rows: Sequence[TokenRow]) -> None:
    """Each learned token has one site: at the node whose visible tokens are exactly the row's prefix."""
    tokens, seen = batch.tokens_T.tolist(), seen_by(batch)
    expected = [(r, i) for r, row in enumerate(rows) for i, weight in enumerate(row.weights) if weight]
    assert batch.row_S.tolist() == [r for r, _ in expected]
    assert batch.target_S.tolist() == [rows[r].tokens[i] for r, i in expected]
    assert batch.weight_S.tolist() == [rows[r].weights[i] for r, i in expected]
    for site, (r, i) in zip(batch.site_S.tolist(), expected, strict=True):
        assert [tokens[j] for j in seen[site]] == list(rows[r].tokens[:i])


def check_segments(batch: Batch) -> None:
    """They cut the tree into runs; each one sees its ancestors and itself, and nothing else."""
    end, seen = batch.end_T.tolist(), seen_by(batch)
    assert [s.start for s in batch.segments] == [0, *(s.stop for s in batch.segments[:-1])]
    assert batch.segments[-1].stop == len(end)
    for segment in batch.segments:
        path: list[int] = list(range(segment.start, segment.stop))
        parent = segment.parent
        while parent >= 0:
            above = batch.segments[parent]
            assert above.stop <= segment.start
            assert above.start <= segment.start < segment.stop <= end[above.start]
            path = [*range(above.start, above.stop), *path]
            parent = above.parent
        assert seen[segment.stop - 1] == path
        assert len(set(end[segment.start : segment.stop])) == 1


@given(given_samples=samples(), min_shared=st.integers(1, 10), share=st.booleans())
def test_the_tree_holds_every_row_and_shows_each_token_its_prefix(
    given_samples: list[Sample], min_shared: int, share: bool
) -> None:
    batch = pack(given_samples, share=share, min_shared=min_shared)
    rows = rows_of(given_samples)
    check_sites(batch, rows)
    check_segments(batch)
    tokens = batch.tokens_T.tolist()
    paths = {tuple(tokens[j] for j in seen) for seen in seen_by(batch)}
    assert all(computed(row) in paths for row in rows)
    assert batch.position_T.tolist() == [len(seen) - 1 for seen in seen_by(batch)]
    assert batch.num_rows == len(rows)
    assert batch.num_row_tokens == sum(len(row.tokens) for row in rows)
    assert batch.sample_ids == tuple(sample.id for sample in given_samples)
    assert batch.sample_of_row == tuple(i for i, sample in enumerate(given_samples) for _ in sample.rows)


@given(given_samples=samples(), min_shared=st.integers(1, 10))
def test_sharing_saves_what_the_rows_have_in_common(given_samples: list[Sample], min_shared: int) -> None:
    rows = rows_of(given_samples)
    distinct = {computed(row)[:i] for row in rows for i in range(1, len(computed(row)) + 1)}
    flat = pack(given_samples, share=False)
    tree = pack(given_samples, min_shared=min_shared)
    assert len(flat.tokens_T) == sum(len(computed(row)) for row in rows)
    assert len(distinct) <= len(tree.tokens_T) <= len(flat.tokens_T)
    assert len(tree.tokens_T) <= len(distinct) + (min_shared - 1) * (len(rows) - 1), "at most that many stay unshared"
    assert len(pack(given_samples, min_shared=1).tokens_T) == len(distinct), "with 1, a trie"


def test_without_sharing_each_row_is_a_segment_in_order() -> None:
    batch = pack(plain([[5, 6, 7], [3, 4], [5, 6, 7]]), share=False)
    assert batch.tokens_T.tolist() == [5, 6, 7, 3, 4, 5, 6, 7]
    assert batch.position_T.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert batch.end_T.tolist() == [3, 3, 3, 5, 5, 8, 8, 8]
    assert [segment.parent for segment in batch.segments] == [-1, -1, -1]


def test_duplicates_are_computed_once_and_keep_their_own_sites() -> None:
    row = list(range(3, 23))
    batch = pack(plain([row] * 5))
    assert batch.tokens_T.tolist() == row
    assert len(batch.segments) == 1
    assert torch.equal(batch.site_S.view(5, -1), torch.arange(20).repeat(5, 1))
    assert batch.row_S.tolist() == [r for r in range(5) for _ in range(20)]


@pytest.mark.parametrize(("common", "shared"), [(MIN_SHARED - 1, False), (MIN_SHARED, True)])
def test_short_prefixes_are_not_worth_a_branch(common: int, shared: bool) -> None:
    head = [9] * common
    batch = pack(plain([[*head, 3, 4], [*head, 5, 6]]))
    assert len(batch.tokens_T) == (common + 4 if shared else 2 * common + 4)


def test_branches_nest() -> None:
    a, b = [7] * 10, [8] * 10
    batch = pack(plain([[*a, *b, 3], [*a, *b, 4], [*a, 5, 5]]))
    assert [(s.stop - s.start, s.parent) for s in batch.segments] == [(10, -1), (2, 0), (10, 0), (1, 2), (1, 2)]


@pytest.mark.parametrize("step", [1, MIN_SHARED])
def test_a_chain_of_prefixes_two_thousand_deep(step: int) -> None:
    draw = random.Random(0)
    whole = tuple(draw.randrange(3, 90) for _ in range(2001 * step))
    rows = [whole[: 1 + (i + 1) * step] for i in range(2000)]
    draw.shuffle(rows)
    last_only = [Sample(str(i), (TokenRow(r, (*[0.0] * (len(r) - 1), 1.0)),)) for i, r in enumerate(rows)]
    batch = pack(last_only, min_shared=step)
    longest = max(rows, key=len)[:-1]
    assert batch.tokens_T.tolist() == list(longest), "one path"
    assert batch.position_T.tolist() == list(range(len(longest)))
    assert set(batch.end_T.tolist()) == {len(longest)}
    assert batch.site_S.tolist() == [len(row) - 2 for row in rows]


def test_rows_that_learn_nothing_have_no_sites() -> None:
    batch = pack([Sample("a", (TokenRow((3, 4, 5), (0.0, 0.0, 0.0)),)), Sample("b", (TokenRow((3,), (0.0,)),))])
    assert batch.site_S.tolist() == []
    assert batch.num_rows == 2


@pytest.mark.parametrize(
    ("row", "complaint"),
    [(TokenRow((3, 4), (1.0, 1.0)), "nothing predicts"), (TokenRow((3, 4), (0.0,)), "one weight a token")],
)
def test_impossible_weights_are_our_own_mistake(row: TokenRow, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        pack([Sample("a", (row,))])
