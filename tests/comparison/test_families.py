"""The best of several against the best of several: no more false claims than the level says, by simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etude.comparison.families import BestOfEach
from etude.comparison.judgement import judge
from etude.comparison.paired import PairedMeans, PairedProportions
from etude.comparison.verdict import compare, compare_best
from etude.evaluation.report import ItemResult, Report

ITEMS, SIMULATIONS, ALPHA = 150, 2_000, 0.05
Scores = NDArray[np.float64]


def answers(dice: np.random.Generator, shares: Sequence[float], alike: float) -> Scores:
    """Right and wrong answers [models, items], right as often as `shares` say; models find the same items hard."""
    from scipy.special import ndtri

    common = math.sqrt(alike) * dice.standard_normal(ITEMS)
    own = math.sqrt(1 - alike) * dice.standard_normal((len(shares), ITEMS))
    return (common + own < ndtri(np.asarray(shares))[:, None]).astype(np.float64)


def proportions(tuned: Scores, base: Scores) -> PairedProportions:
    one, other = tuned == 1, base == 1
    return PairedProportions(
        int((one & other).sum()), int((other & ~one).sum()), int((one & ~other).sum()), int((~one & ~other).sum())
    )


def chosen_first(models: Scores) -> Scores:
    return models[np.argsort(-models.mean(axis=1), kind="stable")]


def best_of_each(tuned: Scores, base: Scores) -> BestOfEach:
    tuned, base = chosen_first(tuned), chosen_first(base)
    return BestOfEach(
        [proportions(tuned[0], one) for one in base], [proportions(one, base[0]) for one in tuned],
        len(tuned), len(base),
    )  # fmt: skip


@pytest.mark.parametrize(("tuned", "base"), [(1, 8), (5, 1), (5, 7)])
def test_a_choice_among_equals_claims_no_difference(tuned: int, base: int) -> None:
    dice = np.random.default_rng(7)
    naive = mended = 0
    for _ in range(SIMULATIONS):
        scores = answers(dice, [0.7] * (tuned + base), 0.3)
        evidence = best_of_each(scores[:tuned], scores[tuned:])
        naive += evidence.chosen.p_value < ALPHA
        mended += evidence.p_value < ALPHA
    error = 3 * math.sqrt(ALPHA * (1 - ALPHA) / SIMULATIONS)
    assert mended / SIMULATIONS <= ALPHA + error
    if min(tuned, base) == 1:  # where both sides are chosen luck meets luck
        assert naive / SIMULATIONS > ALPHA + error, "the simulation must show what is mended"


def test_the_interval_holds_the_true_gain_of_the_best_and_a_real_one_is_found() -> None:
    dice = np.random.default_rng(11)
    tuned, base = [0.6, 0.72, 0.75], [0.70, 0.72, 0.55, 0.71]
    missed = found = 0
    for _ in range(150):
        scores = answers(dice, [*tuned, *base], 0.3)
        low, high = best_of_each(scores[:3], scores[3:]).interval(0.95)
        missed += not low <= max(tuned) - max(base) <= high
        scores = answers(dice, [*tuned, 0.95, *base], 0.3)
        found += best_of_each(scores[:4], scores[4:]).interval(0.95)[0] > 0
    assert missed / 150 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 150)
    assert found / 150 > 0.95


four = st.tuples(*[st.integers(0, 30)] * 4).filter(any)


@given(st.lists(four, min_size=1, max_size=4), st.lists(four, max_size=3), st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_and_p_value_never_contradict_each_other(
    against: list[tuple[int, int, int, int]], rivals: list[tuple[int, int, int, int]], level: float
) -> None:
    tests = [PairedProportions(*one) for one in against]
    others = [tests[0], *(PairedProportions(*one) for one in rivals)]
    evidence = BestOfEach(tests, others, len(others), len(tests))
    low, high = evidence.interval(level)
    assert low <= evidence.difference <= high
    assert (evidence.p_value < 1 - level) == (low > 0 or high < 0)
    [alone] = judge([tests[0]], level=level)
    [said] = judge([BestOfEach(tests[:1], tests[:1], 1, 1)], level=level)
    assert said == alone
    assert evidence.p_value >= min(1.0, tests[0].p_value)


def report(scores: Sequence[float]) -> Report:
    items = tuple(ItemResult(str(n), "", "", "", {"f1": score}) for n, score in enumerate(scores))
    return Report("t", "f1", "m", "", items, {"f1": float(np.mean(scores))}, "d")


def test_graded_scores_go_the_same_way(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    hard = dice.random(80)
    tuned = [report(np.clip(hard + 0.12 + 0.1 * dice.standard_normal(80), 0, 1)) for _ in range(2)]
    base = [report(np.clip(hard + 0.1 * dice.standard_normal(80), 0, 1)) for _ in range(3)]
    found = compare_best(tuned, base, smallest_gain=0.01)
    assert found.answer == "better"
    assert found.method == "paired bootstrap, the best of 2 against the best of 3"
    alone = compare(tuned[0], base[0], smallest_gain=0.01)
    assert found.difference == alone.difference
    assert found.low < alone.low
    assert compare_best(tuned[:1], base[:1], smallest_gain=0.01) == alone
    wider = compare_best(tuned, base, choices=(4, 6), smallest_gain=0.01)
    assert wider.low < found.low, "bases that were not taken further could have been"
    gains = PairedMeans(np.zeros(20), np.ones(20))
    assert BestOfEach([gains], [gains], 3, 2).p_value == 1.0
