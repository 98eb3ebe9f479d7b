"""The learning rate: a linear climb to the peak, then the schedule's fall, in closed form."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.training.options import TrainOptions
from etude.training.schedule import learning_rate

SCHEDULES = ("cosine", "linear", "constant")


def rates(num_steps: int, **settings: object) -> list[float]:
    options = TrainOptions(learning_rate=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate(step, num_steps, options) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1 / 3, 2 / 3, *[1.0] * 8]),
        ("linear", [1 / 3, 2 / 3, *[1 - k / 8 for k in range(8)]]),
        ("cosine", [1 / 3, 2 / 3, *[(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]]),
    ],
)
def test_closed_form(schedule: str, expected: list[float]) -> None:
    assert rates(10, schedule=schedule, warmup_share=0.2) == pytest.approx(expected)


@given(
    num_steps=st.integers(1, 300),
    share=st.floats(0, 0.99),
    schedule=st.sampled_from(SCHEDULES),
    peak=st.floats(1e-9, 10),
)
def test_it_climbs_once_falls_once_and_never_rests_at_zero(
    num_steps: int, share: float, schedule: str, peak: float
) -> None:
    options = TrainOptions(learning_rate=peak, warmup_share=share, schedule=schedule)  # type: ignore[arg-type]
    found = [learning_rate(step, num_steps, options) for step in range(num_steps)]
    warmup = round(share * num_steps)
    assert all(0 < rate <= peak for rate in found)
    assert found[: warmup + 1] == sorted(found[: warmup + 1])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    if warmup < num_steps:
        assert found[warmup] == peak


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_single_update_has_the_full_rate(schedule: str) -> None:
    assert rates(1, schedule=schedule) == [1.0]


def test_the_fall_ends_just_above_zero() -> None:
    for schedule in ("linear", "cosine"):
        assert 0 < rates(1000, schedule=schedule)[-1] < 2e-3
