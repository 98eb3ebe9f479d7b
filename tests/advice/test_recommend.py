"""The same measurements always give the same advice; each case is known in closed form."""

from __future__ import annotations

import pytest

from etude.advice.arms import break_even, total_cost
from etude.advice.curve import LearningCurve, Predicted
from etude.advice.options import AdviseOptions
from etude.advice.recommend import Recommendation, Wishes, recommend
from etude.comparison.judgement import Answer
from tests.advice.arms import PROMPTED, TUNED, Says, arm


def advised(answer: Answer, wishes: Wishes | None = None, *more: object, **changed: object) -> Recommendation:
    arms = [arm(PROMPTED), arm(TUNED, **changed), *more]
    return recommend(arms, Says(answer), wishes or Wishes())  # type: ignore[arg-type]


def test_break_even_is_one_off_over_what_a_request_saves() -> None:
    assert break_even(TUNED, PROMPTED) == pytest.approx(30 / ((4.0 - 1.0) / 1000))
    assert break_even(arm(TUNED, one_off=0.0), PROMPTED) == 0
    assert break_even(arm(TUNED, cost=5.0), PROMPTED) is None
    assert break_even(arm(TUNED, cost=4.0), PROMPTED) is None  # nothing is saved, so nothing is paid back
    assert break_even(arm(TUNED, cost=None), PROMPTED) is None
    at = break_even(TUNED, PROMPTED)
    assert at is not None
    assert total_cost(TUNED, at) == pytest.approx(total_cost(PROMPTED, at))


def test_better_by_more_than_chance_is_fine_tuned_with_its_drawbacks() -> None:
    found = advised("better")
    assert found.arm == "tuned"
    assert found.sentence.startswith("Fine-tune")
    assert found.pays_from == pytest.approx(10_000)
    assert any("10,000 requests" in reason for reason in found.reasons)
    assert [one.split(":")[0] for one in found.drawbacks] == ["Staleness", "Forgetting", "Maintenance"]


@pytest.mark.parametrize("answer", ["worse", "equivalent"])
def test_prompting_is_enough_where_training_gains_nothing(answer: Answer) -> None:
    found = advised(answer)
    assert found.arm == "few-shot"
    assert found.sentence == "Prompting is enough: take big, 8 examples."


def test_too_little_evidence_does_not_train_a_model() -> None:
    found = advised("not enough evidence", Wishes(requests=1e9))
    assert found.arm == "few-shot"
    assert found.sentence.startswith("Not decided: "), "nothing shown is not shown to be enough"
    assert "for now" in found.sentence
    assert any("about 880 items would decide" in reason for reason in found.reasons), "how many more items decide"


def test_of_two_that_are_equally_good_volume_decides() -> None:
    assert advised("equivalent", Wishes(requests=9_000)).arm == "few-shot"
    assert advised("equivalent", Wishes(requests=11_000)).arm == "tuned"
    assert advised("equivalent", Wishes(requests=11_000), cost=None).arm == "few-shot"


def test_a_target_is_reached_by_the_cheapest_that_surely_does() -> None:
    found = advised("better", Wishes(target=0.7, requests=1_000))
    assert found.arm == "few-shot"  # 0.75 to 0.85, and 4.0 in all against 31.0
    assert "so prompting is enough" in found.sentence
    assert advised("better", Wishes(target=0.7, requests=50_000)).arm == "tuned"
    found = advised("better", Wishes(target=0.87))
    assert found.arm == "tuned"
    rivals = [arm(PROMPTED, name=f"few-shot-{n}", score=0.5, interval=(0.4, 0.6)) for n in range(2)]
    found = advised("better", Wishes(target=0.87), *rivals)
    assert any("No arm surely reaches the 87 %" in reason for reason in found.reasons), "any of four may by luck"
    found = advised("better", Wishes(target=0.9))
    assert any("No arm surely reaches the 90 %" in reason for reason in found.reasons)
    assert found.arm == "tuned"


def test_what_was_measured_alone_is_said_to_be_alone() -> None:
    found = recommend([PROMPTED], Says("better"), Wishes())
    assert found.arm == "few-shot"
    assert "no other kind of way was there to compare it with" in found.sentence
    cheaper = arm(PROMPTED, name="zero-shot", title="small, prompt alone", score=0.78, interval=(0.72, 0.83), cost=1.0)
    found = recommend([PROMPTED, cheaper], Says("better"), Wishes(target=0.7, requests=1.0), bases=(PROMPTED, cheaper))
    assert found.arm == "zero-shot", "a target is one all the same"
    assert found.sentence == "small, prompt alone reaches what you asked for, so prompting is enough."
    assert any(reason.startswith("Of the base models as they are big was the best") for reason in found.reasons)


def test_lower_is_better_turns_the_order_round() -> None:
    low: dict[str, object] = {"metric": "nll", "higher_is_better": False}
    arms = [arm(PROMPTED, score=3.0, interval=(2.5, 3.5), **low), arm(TUNED, score=1.0, interval=(0.9, 1.1), **low)]
    found = recommend(arms, Says("better"), Wishes(target=1.2))
    assert found.arm == "tuned"


def test_more_rows_are_worth_it_only_where_the_range_says_so() -> None:
    def reason(low: float) -> str:
        curve = LearningCurve((100, 300, 1000), (0.7, 0.8, 0.86), (Predicted(2000, 0.9, low, 0.93),))
        return recommend([PROMPTED, TUNED], Says("better"), Wishes(), curve).reasons[-1]

    assert "With 2,000 rows in the place of 1,000 about 90.0 %" in reason(0.89)
    assert "more rows are worth it" in reason(0.89)
    assert "no reason to label more" in reason(0.85)


def test_the_interval_and_what_it_is_corrected_for_are_said() -> None:
    found = advised("better", None, arm(PROMPTED, name="zero-shot", score=0.6))
    assert "Item by item the fine-tuned model is better: +12.0 points [+7.0, +17.0]" in found.reasons[2]
    assert "best of 1 fine-tuned and of 2 prompted ways" in found.reasons[3]
    assert not any("chosen on these items" in reason for reason in advised("better").reasons), "nothing was chosen"


def test_options_out_of_range_are_named() -> None:
    wrong = AdviseOptions(models=(), examples=(8, 4), sizes=(0,), items=0, matters=-1.0).problems()
    assert [name for name, _ in wrong] == ["models", "examples", "sizes", "items", "matters"]
