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
    "kl": 2.0, "chosen": 1.0, "rejected": -2.0,
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


def test_both_answers_falling() -> None:
    falling = {"chosen": -1.0, "rejected": -3.0}
    assert "objective.nll" in heard(*(progress(step, falling) for step in range(1, FALLING_UPDATES + 1)))


def test_an_exploited_reward() -> None:
    looks = [progress(step, {**GOOD, "reward": step / 10}, heldout=1 - step / 10) for step in range(1, LOOKS + 2)]
    assert "stops: in 3 looks in a row the reward rose in training and fell on held-out prompts" in heard(*looks)


def test_figures_that_are_no_numbers() -> None:
    assert "reward is not a number" in heard(progress(1, {**GOOD, "reward": math.nan}))
