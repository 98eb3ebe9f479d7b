"""The trade-off between gain and forgetting, by hand."""

from __future__ import annotations

import pytest

from etude.comparison.frontier import Estimate, Point, lost_of, mean_gain, undominated
from etude.errors import EtudeError
from etude.evaluation.report import ItemResult, Report


def report(scores: list[float], *, task: str = "t", higher: bool = True) -> Report:
    items = tuple(ItemResult(str(n), "", "", "", {"s": score}) for n, score in enumerate(scores))
    return Report(
        task=task, metric="s", subject="m", model_hash="", items=items, summary={"s": sum(scores) / len(scores)},
        data_sha256="", higher_is_better=higher,
    )  # fmt: skip


def test_gains_are_means_of_tasks_with_an_interval() -> None:
    first = report([1.0] * 30 + [0.0] * 10), report([0.0] * 40)
    second = report([1.0] * 5), report([1.0] * 5)
    found = mean_gain([first, second])
    assert found.value == pytest.approx((0.75 + 0) / 2)
    assert found.low < found.value < found.high
    assert found.low > 0.25
    assert lost_of([first]).value == pytest.approx(-0.75)
    nats = report([1.0, 2.0], higher=False), report([2.0, 3.0], higher=False)
    assert mean_gain([nats]) == Estimate(1.0, 1.0, 1.0)
    with pytest.raises(EtudeError, match="cannot be averaged"):
        mean_gain([first, nats])
    with pytest.raises(EtudeError, match="other items"):
        mean_gain([(report([1.0]), report([1.0, 0.0]))])


def test_the_frontier_holds_what_nothing_beats() -> None:
    def point(name: str, gain: float, lost: float) -> Point:
        return Point(name, Estimate(gain, gain, gain), Estimate(lost, lost, lost))

    points = [point("a", 3, 2), point("b", 2, 1), point("c", 1.5, 1), point("d", 3, 2), point("e", 1, 3)]
    assert [one.name for one in undominated(points)] == ["b", "a", "d"]
