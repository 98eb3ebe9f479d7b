"""A power law is found again, and its range holds the truth about as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from etude.advice.curve import learning_curve

ROWS = (100, 300, 1000)


def truth(rows: int) -> float:
    """The share of right answers after so many rows."""
    return 1 - (0.05 + 0.6 * (rows / 100) ** -0.5)


def test_a_curve_without_noise_is_continued() -> None:
    items = [[1.0] * round(10_000 * truth(n)) + [0.0] * (10_000 - round(10_000 * truth(n))) for n in ROWS]
    found = learning_curve(ROWS, items, (3000, 10_000))
    assert [one.score for one in found.predicted] == pytest.approx([truth(3000), truth(10_000)], abs=0.005)
    assert found.scores == pytest.approx([truth(n) for n in ROWS], abs=1e-3)


def test_the_range_holds_the_truth() -> None:
    dice = np.random.default_rng(1)
    held = 0
    for seed in range(20):
        hardness = dice.random(400)  # the same items for all sizes
        items = [(hardness < truth(n)).astype(float).tolist() for n in ROWS]
        [one] = learning_curve(ROWS, items, (3000,), seed=seed).predicted
        assert 0 <= one.low <= one.score <= one.high <= 1
        held += one.low <= truth(3000) <= one.high
    assert held >= 16


def test_two_sizes_promise_nothing() -> None:
    assert learning_curve((100, 300), [[1.0, 0.0], [1.0, 1.0]], (1000,)).predicted == ()


def test_scores_that_do_not_rise_are_not_extrapolated_upwards() -> None:
    items = [[1.0] * 60 + [0.0] * 40] * 3
    [one] = learning_curve(ROWS, items, (3000,)).predicted
    assert one.score == pytest.approx(0.6, abs=0.01)
