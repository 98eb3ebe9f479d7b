"""The one rule, and several comparisons at one level: by hand, against statsmodels, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from etude.comparison.judgement import bounds, judge, rows_enough, smallest_alpha, step_down
from etude.comparison.paired import PairedMeans, PairedProportions


def test_step_down_by_hand() -> None:
    tested = step_down([(0.01,), (0.04,), (0.03,), (0.005,)], 0.05)
    assert [one.adjusted for one in tested] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [one.alpha for one in tested] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert [one.rejected for one in tested] == [(True,), (False,), (False,), (True,)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from([0.01, 0.05, 0.2]))
def test_one_hypothesis_each_is_holm(p_values: list[float], alpha: float) -> None:
    tested = step_down([(p,) for p in p_values], alpha)
    rejected, adjusted, _, _ = multipletests(p_values, alpha, method="holm")
    assert [one.adjusted for one in tested] == pytest.approx(list(adjusted))
    assert [one.rejected[0] for one in tested] == [one < alpha for one in adjusted]
    assert len(rejected) == len(tested)


def test_two_hypotheses_of_which_one_is_true_count_once() -> None:
    # the first comparison is open until both of its own are gone, so the second keeps being tested at alpha / 2
    (first, second) = step_down([(0.001, 0.9), (0.9, 0.03)], 0.05)
    assert first.rejected == (True, False)
    assert second.rejected == (False, False)
    # a difference that is there but too small to matter: both gone, and the other comparison has the level to itself
    (first, second) = step_down([(0.001, 0.002), (0.9, 0.03)], 0.05)
    assert first.rejected == (True, True)
    assert (second.rejected, second.alpha) == ((False, True), pytest.approx(0.05))


def proportions(n: int, lost: int, gained: int) -> PairedProportions:
    return PairedProportions(n - lost - gained, lost, gained, 0)


def test_every_answer() -> None:
    def answer(lost: int, gained: int, n: int = 1000, margin: float = 0.02) -> str:
        return judge([proportions(n, lost, gained)], level=0.95, margin=margin)[0].answer

    assert answer(10, 80) == "better"
    assert answer(10, 40) == "not enough evidence"
    assert answer(10, 40, margin=0.0) == "better"
    assert answer(20, 20) == "equivalent"
    assert answer(20, 20, margin=0.0) == "not enough evidence"
    assert answer(20, 20, n=100) == "not enough evidence"
    assert answer(30, 10) == "worse", "though by less than the margin, perhaps"


def test_few_items_without_a_difference_are_not_equivalent() -> None:
    assert judge([proportions(20, 0, 0)], level=0.95, margin=0.05)[0].answer == "not enough evidence"
    same = PairedMeans(np.zeros(20), np.ones(20))
    assert judge([same], level=0.95, margin=0.05)[0].answer == "not enough evidence"
    assert judge([PairedMeans(np.zeros(400), np.ones(400))], level=0.95, margin=0.05)[0].answer == "equivalent"


def test_a_claims_p_value_is_where_its_interval_begins_to_hold() -> None:
    evidence = proportions(400, 10, 50)
    p = smallest_alpha(lambda alpha: bounds(evidence, alpha), lambda low, _: low > 0.05)
    assert evidence.interval(1 - 1.001 * p)[0] > 0.05 > evidence.interval(1 - 0.999 * p)[0]
    assert smallest_alpha(lambda alpha: bounds(evidence, alpha), lambda low, _: low > 0.5) == 1.0


@pytest.mark.parametrize("truth", [0.04, -0.04, 0.0])
def test_answers_with_a_margin_are_false_at_most_one_time_in_twenty(truth: float) -> None:
    margin, trials, n = 0.04, 150, 300
    drawn = np.random.default_rng(3).multinomial(n, [0.1 - truth / 2, 0.1 + truth / 2, 0.8], size=trials).tolist()
    false = 0
    for lost, gained, _ in drawn:
        answer = judge([proportions(n, lost, gained)], level=0.95, margin=margin)[0].answer
        wrong = {0.04: ("better", "worse", "equivalent"), -0.04: ("better", "equivalent"), 0.0: ("better", "worse")}
        false += answer in wrong[truth]
    assert stats.binomtest(false, trials, 0.05, alternative="greater").pvalue > 1e-3


def test_a_family_with_margins_is_rarely_wrong_anywhere() -> None:
    # half the tasks are at the margin (equivalent would be false), half at zero (better or worse would be)
    margin, trials, n = 0.04, 60, 300
    generator, false = np.random.default_rng(5), 0
    for _ in range(trials):
        truths = (margin, 0.0, margin, 0.0)
        drawn = [generator.multinomial(n, [0.1 - t / 2, 0.1 + t / 2, 0.8]).tolist() for t in truths]
        answers = judge([proportions(n, lost, won) for lost, won, _ in drawn], level=0.95, margin=margin)
        false += any(
            one.answer in (("better", "equivalent", "worse") if truth else ("better", "worse"))
            for one, truth in zip(answers, truths, strict=True)
        )
    assert stats.binomtest(false, trials, 0.05, alternative="greater").pvalue > 1e-3


def test_the_rows_that_would_be_enough_are_enough() -> None:
    generator, n = np.random.default_rng(7), 150
    few = proportions(n, 15, 24)
    rows = rows_enough(few, 0.95, 0.0)
    assert rows is not None
    assert 500 < rows < 900
    drawn = generator.multinomial(rows, [15 / n, 24 / n, 1 - 39 / n], size=400).tolist()
    found = [judge([proportions(rows, lost, won)], level=0.95)[0].answer == "better" for lost, won, _ in drawn]
    assert 0.74 <= np.mean(found) <= 0.88


def test_rows_for_whichever_answer_is_nearest() -> None:
    nothing = proportions(200, 10, 10)
    assert rows_enough(nothing, 0.95, 0.0) is None, "no difference was seen, so no number of items would show one"
    to_equivalence = rows_enough(nothing, 0.95, 0.02)
    assert to_equivalence is not None
    assert judge([proportions(3000, 150, 150)], level=0.95, margin=0.02)[0].answer == "equivalent"
    assert 1500 < to_equivalence < 3000
