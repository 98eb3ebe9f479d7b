"""Intervals cover what they promise to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from etude.evaluation.intervals import bootstrap_ratio, clusters, mean_interval, wilson


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_equals_scipy(successes: int, n: int, level: float) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_inside_zero_and_one(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


def test_bca_equals_scipy_but_for_the_expansion() -> None:
    values = np.random.default_rng(3).exponential(size=400)
    ours = bootstrap_ratio(values, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(2))
    low, high = ours.interval(0.95)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


@pytest.mark.parametrize(("n", "draw"), [(12, "normal"), (30, "exponential"), (60, "uniform")])
def test_bootstrap_intervals_cover_the_mean(n: int, draw: str) -> None:
    generator = np.random.default_rng(7)
    truth = {"normal": 0.0, "exponential": 1.0, "uniform": 0.5}[draw]
    trials = 400
    covered = 0
    for trial in range(trials):
        low, high = bootstrap_ratio(getattr(generator, draw)(size=n), resamples=999, seed=trial).interval(0.95)
        covered += low <= truth <= high
    # the exponential's skewness costs every bootstrap a few points at n = 30
    assert covered / trials >= (0.90 if draw == "exponential" else 0.92)


def test_a_ratio_weighs_its_items() -> None:
    found = bootstrap_ratio([10.0, 1.0, 2.0], [10.0, 2.0, 1.0])
    assert found.estimate == pytest.approx(1.0)
    low, high = found.interval(0.95)
    assert 0.5 <= low < 1 < high <= 2


@pytest.mark.parametrize("shift", [-1.0, -0.3, 0.0, 0.1, 0.3, 1.0])
def test_p_value_and_interval_agree(shift: float) -> None:
    values = np.random.default_rng(5).normal(shift, 1, size=40)
    found = bootstrap_ratio(values)
    p_value = found.p_value()
    for level in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        low, high = found.interval(level)
        assert (low > 0 or high < 0) == (p_value <= 1 - level)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(5).normal(size=40)
    assert bootstrap_ratio(values, seed=4).interval(0.9) == bootstrap_ratio(values, seed=4).interval(0.9)
    assert bootstrap_ratio(values, seed=4).interval(0.9) != bootstrap_ratio(values, seed=5).interval(0.9)


def test_degenerate_samples() -> None:
    assert bootstrap_ratio([0.5] * 8).interval(0.95) == (0.5, 0.5)
    assert bootstrap_ratio([0.0] * 8).p_value() == 1.0
    assert mean_interval([0.3]) == (-math.inf, math.inf)
    assert mean_interval([1.0, 0.0, 1.0]) == wilson(2, 3)
    low, high = mean_interval([1.0, 3.0], [1.0, 3.0])
    assert low <= 2.5 <= high


def test_whole_groups_are_resampled() -> None:
    generator = np.random.default_rng(7)
    truth, covered, naive, trials = 0.5, 0, 0, 300
    groups = [f"talk {place // 6}" for place in range(180)]
    for trial in range(trials):
        share = generator.beta(1.0, 1.0, size=30).repeat(6)
        values = (generator.random(180) < share).astype(float)
        low, high = mean_interval(list(values), groups=groups, seed=trial)
        covered += low <= truth <= high
        low, high = mean_interval(list(values))
        naive += low <= truth <= high
    assert covered / trials >= 0.92
    assert naive / trials < 0.85, "as if items were independent the interval is too narrow"


def test_a_group_for_each_item_is_none_and_one_for_all_says_nothing() -> None:
    values = [1.0, 0.0, 1.0, 1.0]
    assert mean_interval(values, groups=["a", "b", None, None]) == mean_interval(values)
    assert mean_interval(values, groups=["a"] * 4) == (-math.inf, math.inf)
    assert clusters(["a", None, "a", None], 4).tolist() == [0, 1, 0, 2]  # type: ignore[union-attr]


def test_missing_values_are_left_out() -> None:
    assert mean_interval([1.0, math.nan, 0.0, 1.0]) == wilson(2, 3)
    assert mean_interval([math.nan, math.nan]) == (-math.inf, math.inf)
