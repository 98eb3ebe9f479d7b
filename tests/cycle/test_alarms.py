"""Each alarm rings where it should, and none where learning goes well."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from etude.cycle.alarms import DEAD_UPDATES, FALLING_UPDATES, LOOKS, Alarms
from etude.training.progress import Progress, StopEarly


def progress(step: int, figures: Mapping[str, float], *, heldout: float | None = None) -> Progress:
    return Progress(
        step=step, num_steps=100, epoch=0.0, loss=1.0, learning_rate=1e-4, grad_norm=1.0, rows=8, tokens=100,
        tokens_computed=100, seconds=1.0, figures=figures, heldout_loss=None if heldout is None else -heldout,
        heldout_figures={} if heldout is None else {"reward": heldout},
    )  # fmt: skip


GOOD = {
    "reward": 0.5, "ratio_off": 1e-7, "mismatch": 1e-6, "dead_groups": 0.1, "surprise": 1.0, "answer_tokens": 20.0,
    "kl": 2.0, "kl_now": 0.1, "chosen": 1.0, "rejected": -2.0, "ended": 0.8, "goes_with_length": 0.1,
    "goes_with_length_over": 12.0, "uncredited": 0.0, "sampler_weight": 1.0, "sampler_weight_squared": 1.0001,
    "sampler_kl": 0.001,
}  # fmt: skip


def heard(*updates: Progress, each: int = 1) -> str:
    """What is said; StopEarly's words at the end."""
    said: list[str] = []
    alarms = Alarms(said.append, "float32", updates_each=each)
    try:
        for one in updates:
            alarms(one, None)
    except StopEarly as reason:
        said.append(f"stops: {reason}")
    return "\n".join(said)


def test_silence_where_all_is_well() -> None:
    looks = [progress(step, {**GOOD, "reward": step / 100}, heldout=step / 200) for step in range(1, 60)]
    assert heard(*looks) == ""


def test_the_first_ratio() -> None:
    off = {**GOOD, "ratio_off": 0.01}
    assert "before anything was learned" in heard(progress(1, off))
    assert heard(progress(1, GOOD), progress(2, off), each=2) == "", "the second update on the same answers may differ"
    assert "stops:" in heard(progress(1, GOOD), progress(2, off), progress(3, off), each=2)


def test_sampler_against_scoring_is_told_once() -> None:
    off = {**GOOD, "mismatch": 0.01}
    assert heard(progress(1, off), progress(2, off)).count("sampler and scoring differ by 0.01") == 1


def test_dead_groups_end_the_run_after_a_while() -> None:
    dead = {**GOOD, "dead_groups": 0.9}
    assert heard(*(progress(step, dead) for step in range(1, DEAD_UPDATES))) == ""
    assert "equal rewards" in heard(*(progress(step, dead) for step in range(1, DEAD_UPDATES + 1)))
    mixed = [progress(step, dead if step % 10 else GOOD) for step in range(1, 60)]
    assert heard(*mixed) == ""


@pytest.mark.parametrize(
    ("name", "last", "says"),
    [
        ("surprise", 0.4, "uncertainty fell to 40%"),
        ("answer_tokens", 60.0, "answers' length is 2"),
        ("answer_tokens", 4.0, "answers' length is 3"),
    ],
)
def test_slow_drifts(name: str, last: float, says: str) -> None:
    updates = [progress(step, GOOD if step <= 5 else {**GOOD, name: last}) for step in range(1, 30)]
    assert heard(*updates).count(says) == 1


def test_distance_has_a_limit() -> None:
    assert "nats an answer away" in heard(progress(1, {**GOOD, "kl": 31.0}))
    far = {**GOOD, "kl_now": 1.6}
    assert heard(*(progress(step, far) for step in range(1, 5))) == "", "one batch's estimate is noisy"
    assert "is 32 nats an answer away" in heard(*(progress(step, far) for step in range(1, 6)))
    thrown = [progress(step, {**GOOD, "kl_now": 200.0 if step % 5 == 0 else 0.3}) for step in range(1, 30)]
    assert "away" not in heard(*thrown), "one unlikely token in an update is no distance"


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"sampler_weight": 2.5, "sampler_weight_squared": 7.0}, "weight 2.5, χ² 6"),
        ({"sampler_weight": 0.4, "sampler_weight_squared": 0.3}, "weight 0.4"),
        ({"sampler_weight_squared": 4.0}, "25% of the tokens effective, χ² 3"),
        ({"sampler_kl": -0.2}, "-0.2 nats a token"),
    ],
)
def test_a_sampler_that_is_another_model(figures: dict[str, float], says: str) -> None:
    updates = [progress(step, {**GOOD, **figures}) for step in range(1, 4)]
    assert heard(*updates).count(says) == 1


def test_a_reward_that_goes_with_length_has_an_interval() -> None:
    def told(r: float, over: float, count: int = 10) -> str:
        return heard(
            *(progress(step, {**GOOD, "goes_with_length": r, "goes_with_length_over": over}) for step in range(count))
        )

    assert "correlation 0.70, 0.51 to 0.83 among" in told(0.7, 10.0), "at the 5th update: 40 answers"
    assert "goes with the answer's length" in told(-0.7, 10.0)
    assert told(0.4, 10.0) == "", "its interval reaches below 0.3"
    assert told(0.7, 3.0) == ""
    assert told(0.7, 10.0, count=3) == ""
    assert told(1.0, 10.0) != ""


def test_answers_that_never_end() -> None:
    endless = {**GOOD, "ended": 0.0}
    assert "0% of the answers end by themselves, the others are cut" in heard(*(progress(n, endless) for n in range(5)))
    updates = [progress(n, GOOD if n < 5 else {**GOOD, "ended": 0.3}) for n in range(12)]
    assert heard(*updates).count("30% of the answers end by themselves, 80% did at first") == 1


def test_rewards_that_reach_no_token() -> None:
    lost = {**GOOD, "uncredited": 1.0}
    assert heard(*(progress(n, lost) for n in range(4))) == ""
    assert (
        heard(*(progress(n, lost) for n in range(9))).count("most answers with different rewards taught nothing") == 1
    )


def test_both_answers_falling() -> None:
    falling = {"chosen": -1.0, "rejected": -3.0}
    assert "objective.nll" in heard(*(progress(step, falling) for step in range(1, FALLING_UPDATES + 1)))


def test_an_exploited_reward() -> None:
    looks = [progress(step, {**GOOD, "reward": step / 10}, heldout=1 - step / 10) for step in range(1, LOOKS + 2)]
    assert "stops: in 3 looks in a row the reward rose in training and fell on held-out prompts" in heard(*looks)


def test_figures_that_are_no_numbers() -> None:
    assert "reward is not a number" in heard(progress(1, {**GOOD, "reward": math.nan}))
