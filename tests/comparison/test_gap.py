"""The overfitting figure: ratios of sums, coverage, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etude.comparison.gap import Gap, measure_gap
from etude.errors import EtudeError


def rows(generator: np.random.Generator, n: int, loss: float) -> list[tuple[float, float]]:
    tokens = generator.integers(3, 60, size=n)
    return [(float(count * max(generator.normal(loss, 0.4), 0.0)), float(count)) for count in tokens]


def test_losses_are_sums_divided_by_sums() -> None:
    found = measure_gap([(10.0, 10.0), (1.0, 30.0)], [(6.0, 4.0), (6.0, 2.0)])
    assert found.train_loss == pytest.approx(11 / 40)
    assert found.heldout_loss == pytest.approx(2.0)
    assert found.gap == pytest.approx(2.0 - 11 / 40)
    assert (found.n_train, found.n_heldout) == (2, 2)


def test_a_memorised_training_set_overfits() -> None:
    generator = np.random.default_rng(1)
    found = measure_gap(rows(generator, 80, 0.3), rows(generator, 60, 1.5))
    assert found.overfits
    assert 0 < found.low < found.gap < found.high
    assert found.sentence().startswith("overfits: ")
    assert (
        measure_gap(rows(generator, 80, 0.3), rows(generator, 60, 1.5), smallest_gap=3.0).answer
        == "no sign of overfitting"
    )


def test_equal_losses_are_rarely_called_overfitting() -> None:
    generator = np.random.default_rng(2)
    trials = 300
    intervals = [
        measure_gap(rows(generator, 40, 1.5), rows(generator, 25, 1.5), resamples=1000, seed=trial)
        for trial in range(trials)
    ]
    assert sum(found.overfits for found in intervals) / trials <= 0.05
    assert sum(found.low <= 0 <= found.high for found in intervals) / trials >= 0.92


def test_the_same_seed_gives_the_same_figure_and_it_survives_json() -> None:
    generator = np.random.default_rng(3)
    train, heldout = rows(generator, 20, 1.0), rows(generator, 20, 1.2)
    found = measure_gap(train, heldout, seed=5)
    assert found == measure_gap(train, heldout, seed=5)
    assert Gap.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert found.as_dict()["answer"] == found.answer


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ([], [(1.0, 1.0)] * 2),
        ([(1.0, 1.0)], [(1.0, 1.0)] * 2),
        ([(1.0, 1.0)] * 2, [(1.0, 0.0)] * 2),
        ([(1.0, 1.0)] * 2, [(float("nan"), 1.0)] * 2),
    ],
)
def test_what_cannot_be_compared_is_refused(
    train: list[tuple[float, float]], heldout: list[tuple[float, float]]
) -> None:
    with pytest.raises(EtudeError, match="row"):
        measure_gap(train, heldout)
