"""The suite that ships: sound, without doubles, and measurable on any model with a short context; the drift."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch

from etude.batch import TokenRow
from etude.evaluation.drift import drift
from etude.evaluation.harness import check_rows, evaluate
from etude.evaluation.retention import FOLDER, SUITE, probe_file
from etude.evaluation.tasks import load_task
from tests.toy import toy_loaded


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_probe_reads_and_has_its_items() -> None:
    assert {name: len(rows(name)) for name in SUITE} == {"choices": 40, "text": 16, "instructions": 24, "refusals": 40}
    for name in SUITE:
        assert check_rows(load_task(probe_file(name)))
        texts = [json.dumps(row) for row in rows(name)]
        assert len(set(texts)) == len(texts)
    assert Counter(row["answer"] for row in rows("choices")) == {0: 10, 1: 10, 2: 10, 3: 10}
    assert Counter(row["kind"] for row in rows("refusals")) == {"safe": 20, "unsafe": 20}


def test_a_model_with_a_short_context_can_be_asked() -> None:
    for name, primary in {"choices": "right_choice", "text": "nats_per_token"}.items():
        report = evaluate(toy_loaded(), probe_file(name))
        assert report.metric == primary
        assert math.isfinite(report.score)
        assert report.intervals[primary][0] <= report.score <= report.intervals[primary][1]
    assert len(evaluate(toy_loaded(), probe_file("instructions"), limit=2).items) == 2
    assert evaluate(toy_loaded(), probe_file("refusals"), limit=2).summary["over_refusals"] in (0, 1)


def test_the_drift_is_the_divergence_by_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned, base = toy_loaded(seed=1), toy_loaded(seed=2)
    rows = [TokenRow((1, 7, 8, 9, 5), (0.0, 0.0, 1.0, 0.0, 1.0)), TokenRow((1, 20, 30), (0.0, 0.0, 0.0))]
    report = drift("text", tuned, base, rows)
    wanted = []
    for row, places in zip(rows, ((1, 3), (0, 1)), strict=True):
        first, second = (
            model.module(torch.tensor([row.tokens])).logits[0].log_softmax(-1).detach() for model in (tuned, base)
        )
        apart = (first.exp() * (first - second)).sum(-1)
        wanted.append(float(apart[list(places)].mean()))
    assert [item.scores["kl_per_token"] for item in report.items] == pytest.approx(wanted, abs=1e-4)
    assert report.summary["num_tokens"] == 4
    monkeypatch.setattr("etude.evaluation.drift.MOST_BYTES", 1)
    assert drift("text", tuned, base, rows) == report, "row by row, as where a vocabulary is large"
    assert drift("text", base, base, rows).score == pytest.approx(0, abs=1e-6)
