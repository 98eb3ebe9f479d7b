"""Several seeds a side: closed forms, false alarms and power by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from etude.comparison.seeds import SeededMeans


def drawn(
    generator: np.random.Generator, k: int, j: int, *, n: int = 120, seeds: float = 0.02, gain: float = 0.0
) -> SeededMeans:
    """Crossed effects: items' difficulty, what the change does to each item, seeds, and what is left over."""
    items, change = generator.normal(0, 0.3, n), generator.normal(0, 0.1, n)
    sides = [
        items
        + effect
        + generator.normal(0, seeds if many > 1 else 0.0, (many, 1))
        + generator.normal(0, 0.2, (many, n))
        for many, effect in ((k, change + gain), (j, 0.0))
    ]
    return SeededMeans(sides[0], sides[1], np.ones(n))


def test_by_hand() -> None:
    tuned = np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    base = np.array([[0.0, 0.0, 1.0, 0.0]])
    found = SeededMeans(tuned, base, np.ones(4))
    gains = np.array([1.0, 0.5, 0.0, 1.0])
    items, seeds = gains.var(ddof=1) / 4, np.var([0.75, 1.0], ddof=1) / 2
    assert found.difference == pytest.approx(gains.mean())
    freedom = (items + seeds) ** 2 / (items**2 / 3 + seeds**2 / 1)
    half = stats.t.ppf(0.975, freedom) * (items + seeds) ** 0.5
    assert found.interval(0.95) == pytest.approx((gains.mean() - half, gains.mean() + half))
    assert found.p_value == pytest.approx(2 * stats.t.sf(gains.mean() / (items + seeds) ** 0.5, freedom))
    spread = found.spread
    assert (spread.tuned, spread.base, spread.base_deviation) == (2, 1, None)
    assert spread.tuned_deviation == pytest.approx(np.std([0.75, 1.0], ddof=1))
    assert spread.share == pytest.approx(seeds / (items + seeds))
    assert spread.sentence(100.0, " points") == (
        f"2 and 1 models; between seeds a standard deviation of 17.7 points, {100 * spread.share:.0f} % of the variance"
    )


def test_seeds_that_agree_leave_the_items_paired_t_test() -> None:
    generator = np.random.default_rng(1)
    one, other = generator.normal(size=(2, 30))
    found = SeededMeans(np.stack([one, one]), other[None], np.ones(30))
    assert found.p_value == pytest.approx(stats.ttest_rel(one, other).pvalue)
    lower = SeededMeans(np.stack([one, one]), other[None], np.ones(30), higher_is_better=False)
    assert (lower.difference, lower.p_value) == (pytest.approx(-found.difference), pytest.approx(found.p_value))


@pytest.mark.parametrize(("k", "j", "seeds"), [(2, 2, 0.02), (3, 3, 0.1), (5, 5, 0.03), (8, 1, 0.05), (3, 3, 0.0)])
def test_the_same_settings_are_told_apart_at_most_one_time_in_twenty(k: int, j: int, seeds: float) -> None:
    generator, trials = np.random.default_rng(2), 800
    alarms = sum(drawn(generator, k, j, seeds=seeds).p_value < 0.05 for _ in range(trials))
    assert stats.binomtest(alarms, trials, 0.05, alternative="greater").pvalue > 1e-3


def test_ignoring_the_seeds_would_have_been_wrong_far_more_often() -> None:
    generator, trials, alarms = np.random.default_rng(3), 400, 0
    for _ in range(trials):
        found = drawn(generator, 2, 2, seeds=0.1)
        alarms += stats.ttest_rel(found.tuned[0], found.base[0]).pvalue < 0.05
    assert alarms / trials > 0.5


def test_a_detectable_gain_is_detected() -> None:
    generator, trials = np.random.default_rng(4), 400
    gain = np.mean([drawn(generator, 5, 5).detectable(0.95) for _ in range(50)])
    found = [drawn(generator, 5, 5, gain=gain) for _ in range(trials)]
    assert 0.65 <= np.mean([one.p_value < 0.05 and one.difference > 0 for one in found]) <= 0.95


def test_more_items_do_not_help_against_seeds() -> None:
    found = drawn(np.random.default_rng(5), 3, 3, seeds=0.2)
    assert found.spread.share > 0.9
    assert found.rows_for(0.1, 0.95) is None
    rows = found.rows_for(2.0, 0.95)
    assert rows is not None
    assert rows < 120


def test_weights_count() -> None:
    tuned, base, weights = np.array([[1.0, 0.0], [1.0, 0.0]]), np.zeros((1, 2)), np.array([9.0, 1.0])
    assert SeededMeans(tuned, base, weights).difference == pytest.approx(0.9)


def test_models_that_never_differ() -> None:
    same = SeededMeans(np.ones((2, 5)), np.ones((2, 5)), np.ones(5))
    assert (same.p_value, same.interval(0.95), same.detectable(0.95), same.rows_for(0.1, 0.95)) == (
        1.0,
        (0, 0),
        None,
        None,
    )


def test_two_seeds_far_apart_leave_everything_open_that_there_can_be() -> None:
    tuned, base = np.array([[1.0] * 10, [0.0] * 9 + [1.0]]), np.array([[0.0, 1.0] * 5])
    found = SeededMeans(tuned, base, np.ones(10), largest=1.0)
    assert found.interval(0.95) == (-1.0, 1.0)
    assert found.detectable(0.95) is None
