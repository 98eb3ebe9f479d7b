"""Paired statistics: published values, oracles, coverage, and false alarms by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from etude.comparison.paired import PairedMeans, PairedProportions, _tango_score, exact_mcnemar, sign_flip

counts = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


def test_tango_equals_the_published_intervals() -> None:
    # Fagerland, Lydersen, Laake 2014, https://doi.org/10.1002/sim.6148: Bentur's airway data, 95 %
    low, high = PairedProportions(both=1, only_base=7, only_tuned=1, neither=12).interval(0.95)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@given(counts, st.floats(-0.95, 0.95))
def test_the_tango_score_equals_a_numerical_maximum(four: tuple[int, int, int, int], gain: float) -> None:
    gained, lost, rest = four[0], four[1], four[2] + four[3] + 1
    n = gained + lost + rest

    def cost(losing: float) -> float:
        shares = ((gained, losing + gain), (lost, losing), (rest, 1 - 2 * losing - gain))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in shares if count)

    bounds = (max(0.0, -gain), (1 - gain) / 2)
    losing = optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    expected = (gained - lost - n * gain) / math.sqrt(n * (2 * losing + gain * (1 - gain)))
    assert _tango_score(gained, lost, n, gain) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("only_base", "only_tuned"), [(0, 0), (0, 5), (5, 0), (3, 9), (20, 20), (2, 40)])
def test_the_exact_test_equals_scipys_binomial(only_base: int, only_tuned: int) -> None:
    discordant = only_base + only_tuned
    theirs = stats.binomtest(only_tuned, discordant).pvalue if discordant else 1.0
    assert exact_mcnemar(only_base, only_tuned) == pytest.approx(theirs)


@given(counts)
def test_swapping_the_models_mirrors_everything(four: tuple[int, int, int, int]) -> None:
    both, only_base, only_tuned, neither = four
    there = PairedProportions(both, only_base, only_tuned, neither)
    back = PairedProportions(both, only_tuned, only_base, neither)
    assert there.p_value == back.p_value
    assert there.difference == -back.difference
    low, high = there.interval(0.95)
    assert back.interval(0.95) == pytest.approx((-high, -low))
    assert -1 <= low <= there.difference <= high <= 1


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99, 0.999])
def test_a_small_p_value_means_an_interval_without_zero(level: float) -> None:
    for discordant in range(61):
        for only_base in range(discordant + 1):
            found = PairedProportions(10, only_base, discordant - only_base, 20)
            low, high = found.interval(level)
            assert found.p_value >= 1 - level or low > 0 or high < 0


def test_the_reported_p_value_is_the_exact_one_down_to_a_thousandth() -> None:
    for discordant in range(1, 400):
        for only_base in range(discordant // 2 + 1):
            exact = exact_mcnemar(only_base, discordant - only_base)
            found = PairedProportions(0, only_base, discordant - only_base, 0).p_value
            assert found == exact or max(found, exact) < 0.001


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize(("lose", "gain"), [(0.1, 0.1), (0.05, 0.25), (0.02, 0.6), (0.0, 0.1)])
def test_tango_covers_the_true_difference(n: int, lose: float, gain: float) -> None:
    trials = 1500
    drawn = np.random.default_rng(11).multinomial(n, [1 - lose - gain, lose, gain], size=trials)
    covered = 0
    for both, only_base, only_tuned in drawn.tolist():
        low, high = PairedProportions(both, only_base, only_tuned, 0).interval(0.95)
        covered += low <= gain - lose <= high
    assert covered / trials >= 0.93


@pytest.mark.parametrize("n", [40, 200])
def test_the_detectable_gain_is_found_four_times_in_five(n: int) -> None:
    discordance = 0.2
    wanted = PairedProportions(n // 2, round(n * discordance / 2), round(n * discordance / 2), 0)
    wanted = PairedProportions(n - 2 * wanted.only_base, wanted.only_base, wanted.only_base, 0)
    gain = wanted.detectable(0.95)
    assert gain is not None
    share = max(discordance, gain)
    chances = [1 - share, (share - gain) / 2, (share + gain) / 2]
    drawn = np.random.default_rng(13).multinomial(n, chances, size=2000).tolist()
    power = np.mean([exact_mcnemar(lost, gained) < 0.05 and gained > lost for _, lost, gained in drawn])
    # the exact test is a little more cautious than the formula
    assert 0.68 <= power <= 0.86


def test_few_items_cannot_show_anything() -> None:
    assert PairedProportions(0, 0, 3, 0).detectable(0.95) == 1.0
    assert PairedProportions(0, 0, 5, 0).p_value == 2 * 0.5**5
    assert PairedProportions(10, 0, 0, 5).p_value == 1.0
    low, high = PairedProportions(10, 0, 0, 5).interval(0.95)
    assert low < 0 < high


def test_sign_flips_by_hand() -> None:
    assert sign_flip(np.array([0.0, 0.0])) == 1.0
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flip(np.array([1.0, -1.0, 0.0])) == 1.0
    # 4 items, |sum| >= 5: all of one sign, or the smallest against the rest
    assert sign_flip(np.array([-0.5, 2.0, 2.0, 1.5])) == 4 / 16


def test_sign_flips_on_ones_are_mcnemars_test() -> None:
    for only_base, only_tuned in ((1, 9), (3, 7), (2, 30)):
        values = np.array([1.0] * only_tuned + [-1.0] * only_base)
        assert sign_flip(values, flips=40_000) == pytest.approx(exact_mcnemar(only_base, only_tuned), abs=0.01)


def paired_means(gains: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> PairedMeans:
    return PairedMeans(gains, np.ones(len(gains)), resamples=resamples, seed=seed)


@pytest.mark.parametrize("n", [8, 30, 120])
@pytest.mark.parametrize("kind", ["normal", "sparse", "skewed"])
def test_equal_models_are_told_apart_at_most_one_time_in_twenty(n: int, kind: str) -> None:
    generator = np.random.default_rng(17)
    trials = 600
    alarms = 0
    for trial in range(trials):
        first, second = generator.gamma(0.5, size=(2, n)) if kind == "skewed" else generator.normal(size=(2, n))
        gains = first - second
        if kind == "sparse":
            gains *= generator.random(n) < 0.1
        alarms += paired_means(gains, seed=trial).p_value < 0.05
    assert stats.binomtest(int(alarms), trials, 0.05, alternative="greater").pvalue > 1e-3


def test_a_detectable_gain_is_detected_by_the_bootstrap() -> None:
    generator = np.random.default_rng(19)
    n, trials = 60, 300
    gain = paired_means(generator.normal(size=n)).detectable(0.95)
    assert gain is not None
    found = np.mean(
        [paired_means(generator.normal(gain, 1, size=n), seed=trial).p_value < 0.05 for trial in range(trials)]
    )
    assert 0.65 <= found <= 0.95


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.35, 0.5, -0.6])
def test_a_small_p_value_means_a_bootstrap_interval_without_zero(shift: float) -> None:
    generator = np.random.default_rng(23)
    for n in (2, 3, 6, 25):
        found = paired_means(generator.normal(shift, 1, size=n))
        for level in (0.6, 0.8, 0.9, 0.95, 0.99):
            low, high = found.interval(level)
            assert found.p_value > 1 - level or low > 0 or high < 0


def test_weights_count() -> None:
    found = PairedMeans(np.array([1.0, 0.0, 0.0]), np.array([8.0, 1.0, 1.0]))
    assert found.difference == pytest.approx(0.8)
    assert found.details == {"tuned_better": 1, "base_better": 0, "equal": 2}


def test_identical_answers_say_nothing() -> None:
    found = paired_means(np.zeros(20))
    assert (found.p_value, found.detectable(0.95), found.rows_for(0.1, 0.95)) == (1.0, None, None)
    low, high = found.interval(0.95)
    # if 16.8 % of all pairs differed, 20 would show none of them one time in forty
    assert (-low, high) == pytest.approx((0.1684, 0.1684), abs=1e-4)
    assert (1 - high) ** 20 == pytest.approx(0.025)
