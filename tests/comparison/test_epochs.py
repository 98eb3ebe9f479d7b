"""Epochs from a run's diary, and what they advise."""

from __future__ import annotations

import pytest

from etude.comparison.epochs import Epoch, advice, epochs_of


def test_updates_are_gathered_by_epoch_and_the_last_look_counts() -> None:
    lines = [
        {"step": 1, "epoch": 0.5, "loss": 4.0, "rows": 10}, {"step": 2, "epoch": 1.0, "loss": 1.0, "rows": 5},
        {"step": 2, "heldout_loss": 2.0}, {"step": 3, "epoch": 1.5, "loss": 0.9, "rows": 10},
        {"step": 3, "epoch": 1.5, "loss": 0.5, "rows": 10}, {"step": 4, "epoch": 2.0, "loss": 0.3, "rows": 10},
        {"step": 3, "heldout_loss": 1.5}, {"step": 4, "heldout_loss": 2.5},
    ]  # fmt: skip
    first, second = epochs_of(lines)
    assert first == Epoch(1, pytest.approx(3.0), 2.0)
    assert second == Epoch(2, pytest.approx(0.4), 2.5)


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([2.0, 1.0, 1.5], "lowest after epoch 2 (1.0000) and rose to 1.5000: train 2 epochs"),
        ([1.0, 1.5], "train 1 epoch"), ([2.0, 1.5], "more epochs may help"), ([2.0, 1.99], "would gain little"),
        ([2.0], "one look or none"), ([], "one look or none"),
    ],
)  # fmt: skip
def test_advice(losses: list[float], says: str) -> None:
    assert says in advice([Epoch(number, 0.0, loss) for number, loss in enumerate(losses, 1)])
