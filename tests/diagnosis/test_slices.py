"""Slices against independent libraries, exact enumeration, and simulations of no difference at all."""

from __future__ import annotations

from itertools import combinations
from math import isfinite

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_ind
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from etude.diagnosis.slices import Candidate, by_size, by_value, compared_with_rest, overlaps


def halves(values: list[str]) -> list[Candidate]:
    return by_value("side", values, fewest=2)


def test_shares_are_held_against_the_rest_as_fisher_holm_and_newcombe_say() -> None:
    values = ["a"] * 30 + ["b"] * 30 + ["c"] * 60
    scores = [1.0] * 10 + [0.0] * 20 + [1.0] * 26 + [0.0] * 4 + [1.0] * 48 + [0.0] * 12
    found = {one.candidate.value: one for one in compared_with_rest(by_value("side", values), scores)}
    own = np.array(values)
    raw = []
    for value in "abc":
        inside = own == value
        wrong = np.array(scores) == 0
        table = [[(wrong & inside).sum(), (~wrong & inside).sum()], [(wrong & ~inside).sum(), (~wrong & ~inside).sum()]]
        raw.append(fisher_exact(table, alternative="greater").pvalue)
        ends = confint_proportions_2indep(table[0][0], inside.sum(), table[1][0], (~inside).sum(), method="newcomb")
        assert found[value].difference_interval == pytest.approx(ends, abs=1e-9)
    rejected, adjusted, _, _ = multipletests(raw, method="holm")
    assert [found[value].p_value for value in "abc"] == pytest.approx(list(adjusted))
    assert [found[value].is_worse for value in "abc"] == list(rejected) == [True, False, False]


def test_graded_scores_are_permuted_and_bounded_as_welch_says() -> None:
    scores = [0.1, 0.2, 0.35, 0.9, 0.8, 0.4, 0.7, 0.95]
    [worse, _] = compared_with_rest(halves(["a"] * 3 + ["b"] * 5), scores)
    as_bad = [sum(chosen) <= sum(scores[:3]) + 1e-12 for chosen in combinations(scores, 3)]
    assert worse.candidate.value == "a"
    assert worse.p_value == pytest.approx(2 * sum(as_bad) / len(as_bad), rel=0.15)  # Holm doubles the smallest
    welch = ttest_ind(scores[3:], scores[:3], equal_var=False)
    low, high = worse.difference_interval
    assert (high + low) / 2 == pytest.approx(np.mean(scores[3:]) - np.mean(scores[:3]))
    assert (high - low) / 2 == pytest.approx(4.302653 * worse.difference / welch.statistic, rel=1e-4)  # 2 degrees


def test_lower_is_better_turns_the_question_round() -> None:
    scores = [5.0 + n for n in range(10)] + [1.0 + 0.1 * n for n in range(10)]
    found = compared_with_rest(halves(["a"] * 10 + ["b"] * 10), scores, higher_is_better=False)
    assert [(one.candidate.value, one.is_worse) for one in found] == [("a", True), ("b", False)]
    assert found[0].difference == pytest.approx(9.5 - 1.45)


def test_without_a_difference_hardly_any_slice_is_named() -> None:
    dice = np.random.default_rng(0)
    named = grouped = 0
    for _ in range(60):
        values = [str(one) for one in dice.integers(0, 8, 160)]
        scores = (dice.random(160) < 0.7).astype(float).tolist()
        named += any(one.is_worse for one in compared_with_rest(by_value("x", values), scores))
        people = dice.integers(0, 40, 160)
        mood = dice.random(40)
        moody = (dice.random(160) < mood[people]).astype(float).tolist()
        by_person = [str(person % 4) for person in people]
        groups = [str(person) for person in people]
        grouped += any(one.is_worse for one in compared_with_rest(by_value("x", by_person), moody, groups=groups))
    assert named <= 8  # 5 % of 60, and three standard deviations
    assert grouped <= 8


def test_a_slice_of_one_group_cannot_be_told() -> None:
    groups = ["one"] * 10 + [str(n) for n in range(30)]
    scores = [0.0] * 10 + [1.0] * 30
    assert compared_with_rest([Candidate("x", "y", tuple(range(10)))], scores, groups=groups) == []
    [found] = compared_with_rest([Candidate("x", "y", tuple(range(12)))], scores, groups=groups)
    assert all(map(isfinite, found.difference_interval))


def test_what_makes_no_slice() -> None:
    assert by_value("x", ["a"] * 20) == []
    assert by_value("x", [str(n) for n in range(500)]) == []
    assert [one.value for one in by_value("x", ["a"] * 9 + ["b"] * 4 + [None] * 7)] == ["a"]
    bands = by_size("length", [*range(1, 41)], "words")
    assert [one.value for one in bands] == ["1 to 10 words", "11 to 20 words", "21 to 30 words", "31 to 40 words"]
    assert by_size("length", [3] * 40, "words") == []


def test_twins_are_named_after_the_surer_one() -> None:
    scores = [0.0] * 20 + [1.0] * 60
    first, second = Candidate("a", "x", tuple(range(20))), Candidate("b", "y", tuple(range(22)))
    tested = compared_with_rest([first, second], scores)
    assert overlaps(tested) == {"b=y": "a=x"}
