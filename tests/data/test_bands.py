"""Bands: which pairs are found, in stretches as in one piece, and how many of those that are not alike."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.data import bands
from etude.data.bands import bands_for, pairs_sharing_bands, sharing


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_let_hardly_a_pair_slip(threshold: float) -> None:
    number, rows = bands_for(threshold)
    assert number <= bands.MOST_BANDS
    assert number * rows <= bands.MOST_PERMUTATIONS
    draw = np.random.default_rng(0)
    agree = (draw.random((20_000, number, rows)) < threshold).all(axis=2).sum(axis=1)
    assert (agree >= 2).mean() == pytest.approx(sharing(threshold, number, rows), abs=0.02)
    assert sharing(threshold, number, rows) >= (bands.RECALL if threshold >= 0.3 else 0)


def test_chance_hardly_makes_a_pair() -> None:
    assert sharing(0.1, *bands_for(0.8)) < 1e-7


@settings(max_examples=60)
@given(
    st.integers(0, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(1, 9), st.data()
)
def test_pairs_are_those_that_share_two_bands(
    number: int, num_bands: int, values: int, seed: int, at_once: int, data: st.DataObject
) -> None:
    keys = np.random.default_rng(seed).integers(0, values, (number, num_bands)).astype(np.uint32)
    since, below = data.draw(st.integers(0, number)), data.draw(st.none() | st.integers(0, number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "ROWS_AT_ONCE", at_once)
        parts = list(pairs_sharing_bands(keys, later_from=since, earlier_below=below))
    found = [tuple(pair) for _, pairs in parts for pair in pairs.tolist()]
    assert found == [
        (one, other)
        for other, one in sorted((b, a) for a, b in combinations(range(number), 2))
        if other >= since and (below is None or one < below) and (keys[one] == keys[other]).sum() >= 2
    ]
    assert [done for done, _ in parts] == [min(at + at_once, number) for at in range(since, number, at_once)]


def test_very_many_of_one_key_meet_their_neighbours_and_the_first() -> None:
    one = np.stack([np.zeros(200), np.arange(200), np.arange(200)], axis=1).astype(np.uint32)
    two = np.stack([np.zeros(200), np.ones(200), np.arange(200)], axis=1).astype(np.uint32)
    assert not sum(len(pairs) for _, pairs in pairs_sharing_bands(one)), "one band in common is not two"
    found = {tuple(pair) for _, pairs in pairs_sharing_bands(two) for pair in pairs.tolist()}
    places = combinations(range(200), 2)
    assert found == {(a, b) for a, b in places if b - a < bands.ALL_PAIRS or a < bands.FIRST_ONES}
