"""Preference tasks count their rows by their weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.comparison.verdict import compare
from etude.evaluation.harness import evaluate
from etude.evaluation.metrics.preference import Preference
from etude.evaluation.tasks import Task
from tests.toy import toy_loaded


def task_of(folder: Path, weights: list[float]) -> Task:
    rows = [
        {"prompt": f"money {n}", "chosen": "refund" * (1 + n % 3), "rejected": "card", "weight": weight}
        for n, weight in enumerate(weights)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Task(name="p", data=str(folder / "pairs.jsonl"), metric=Preference())


def test_scores_intervals_and_verdicts_are_weighted(tmp_path: Path) -> None:
    weights = [1.0, 0.25, 0.5, 1.0, 0.75, 0.25] * 3
    report = evaluate(toy_loaded(seed=1), task_of(tmp_path, weights))
    assert [item.weight for item in report.items] == weights
    for name in ("preference", "margin"):
        wanted = sum(item.scores[name] * item.weight for item in report.items) / sum(weights)
        assert report.summary[name] == pytest.approx(wanted)
        low, high = report.intervals[name]
        assert low <= report.summary[name] <= high
    other = evaluate(toy_loaded(seed=2), task_of(tmp_path, weights))
    verdict = compare(report, other, metric="margin")
    assert verdict.difference == pytest.approx(report.summary["margin"] - other.summary["margin"])
    plain = evaluate(toy_loaded(seed=1), task_of(tmp_path, [1.0] * 18))
    assert plain.summary["margin"] != pytest.approx(report.summary["margin"])
