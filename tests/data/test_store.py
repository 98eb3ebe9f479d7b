"""A store of samples is the samples that were put in, in memory and on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Sample
from etude.data.render import EncodedRow
from etude.data.store import TYPES, StoreWriter, TokenStore, mapped
from etude.errors import StorageError
from etude.records import Origin

Plain = tuple[str, tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]]
WEIGHTS = st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.5, -1.0])


@st.composite
def weighted(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    """Tokens, and weights of which the first is 0."""
    tokens = draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12))
    return tokens, [0.0, *draw(st.lists(WEIGHTS, min_size=len(tokens) - 1, max_size=len(tokens) - 1))]


Given = tuple[Origin, list[tuple[list[int], list[float]]]]
ORIGINS = st.builds(Origin, st.sampled_from(["a.jsonl", "b.csv"]), st.integers(1, 5))
SAMPLES = st.tuples(ORIGINS, st.lists(weighted(), min_size=1, max_size=3))
SIDES = st.lists(st.lists(SAMPLES, max_size=12), min_size=2, max_size=2)


def encoded(tokens: list[int], weights: list[float]) -> EncodedRow:
    spans = [(at, at + 1, weight) for at, weight in enumerate(weights) if weight]
    return EncodedRow(tokens, spans)


def stored(sides: list[list[Given]], folder: Path | None = None) -> tuple[TokenStore, ...]:
    writer = StoreWriter(folder)
    for side in sides:
        for origin, rows in side:
            writer.add(origin, [encoded(*row) for row in rows])
        writer.end_side()
    return writer.finish()


def named(side: list[Given]) -> list[Plain]:
    """What the samples of one side are, as plain tuples."""
    seen: Counter[str] = Counter()
    found: list[Plain] = []
    for origin, rows in side:
        seen[str(origin)] += 1
        name = f"{origin}#{seen[str(origin)]}" if seen[str(origin)] > 1 else str(origin)
        found.append((name, tuple((tuple(tokens), tuple(weights)) for tokens, weights in rows)))
    return found


def plain(sample: Sample) -> Plain:
    return sample.id, tuple((tuple(map(int, row.tokens)), tuple(map(float, row.weights))) for row in sample.rows)


@given(SIDES)
def test_what_comes_out_is_what_went_in(tmp_path_factory: pytest.TempPathFactory, sides: list[list[Given]]) -> None:
    for folder in (None, tmp_path_factory.mktemp("store")):
        for store, side in zip(stored(sides, folder), sides, strict=True):
            expected = named(side)
            assert list(map(plain, store)) == expected
            assert [plain(store[at]) for at in range(-len(store), len(store))] == expected + expected
            assert list(map(plain, store[1:-1])) == expected[1:-1]
            assert list(map(plain, store[2:][:3])) == expected[2:][:3]
            assert list(map(plain, store[::-2])) == expected[::-2]
            rows = [row for _, each in side for row in each]
            assert store.row_sizes().tolist() == [len(tokens) for tokens, _ in rows]
            assert store.num_learned() == sum(weight > 0 for _, weights in rows for weight in weights)
            assert store[1:].num_learned() == sum(w > 0 for _, each in side[1:] for _, ws in each for w in ws)


def test_indices_beyond_the_end_are_refused() -> None:
    store = stored([[(Origin("a", 1), [([5, 6], [0.0, 1.0])])], []])[0]
    for at in (1, -2):
        with pytest.raises(IndexError):
            store[at]


def test_files_take_the_samples_as_they_come(tmp_path: Path) -> None:
    side: list[Given] = [(Origin("a", at), [(list(range(2_000)), [0.0] * 1_999 + [1.0])]) for at in range(300)]
    writer = StoreWriter(tmp_path)
    for origin, rows in side:
        writer.add(origin, [encoded(*row) for row in rows])
    assert (tmp_path / "tokens").stat().st_size > 300 * 2_000 * 4 // 2, "they do not wait in memory"
    writer.end_side()
    (store,) = writer.finish()
    assert list(map(plain, store)) == named(side)
    assert all(np.array_equal(mapped(tmp_path / name, kind), store.arrays[name]) for name, kind in TYPES.items())


def test_what_the_disk_refuses_is_said(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "gone")
    writer.add(Origin("a", 1), [encoded([5, 6], [0.0, 1.0])])
    writer.end_side()
    with pytest.raises(StorageError, match="gone"):
        writer.finish()
