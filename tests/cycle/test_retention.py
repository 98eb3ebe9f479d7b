"""What was forgotten is measured before and after training, with probes that ship and with one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from etude.comparison.retention import Retention
from etude.evaluation.report import Report

if TYPE_CHECKING:
    from tests.cycle.conftest import Desk


def test_probes_and_drift_of_a_run(desk: Desk) -> None:
    desk.write("mine.jsonl", "".join(json.dumps({"text": f"the lazy dog {n} sleeps"}) + "\n" for n in range(4)))
    desk.write("mine.task.yaml", "name: mine\ndata: mine.jsonl\nmetric: perplexity\n")
    desk.run_file(evaluation={"retention": ["text", "mine.task.yaml"], "drift_rows": 2})
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    run = desk.folder / "runs" / "toy"
    found = Retention.load(run / "retention.json")
    assert [verdict.task for verdict in found.verdicts] == ["text", "mine"]
    assert found.seconds > 0
    own, other = found.drifts[1], found.drifts[0]
    assert (other.on, own.on) == ("plain text", "held-out rows of the task")
    assert own.num_rows == 2
    assert own.low <= own.nats <= own.high
    assert own.nats > 1e-3, "training moved the model on what it was trained for"
    before, after = (Report.load(run / "reports" / "retention" / name) for name in ("mine.base.jsonl", "mine.jsonl"))
    assert before.score != after.score
    assert "retention: " in done.words


def test_a_probe_that_is_not_there_is_said_before_anything_else(desk: Desk) -> None:
    desk.run_file(evaluation={"retention": ["txet"]})
    done = desk.etude("check", "toy.yaml")
    assert done.code == 2
    assert "evaluation.retention[0]" in done.words


def test_memorisation_of_a_run_trained_with_planted_secrets(desk: Desk) -> None:
    (desk.folder / "rows").mkdir()
    (desk.folder / "rows" / "train.jsonl").write_bytes((desk.folder / "train.jsonl").read_bytes())
    planted = desk.etude("data", "plant", "--out", "rows/canaries.jsonl", "--secrets", "1")
    assert "21 rows, 1 secrets each written 1, 4, 16 times" in planted.words
    assert desk.etude("data", "plant", "--out", "rows/canaries.jsonl").code == 2
    desk.run_file(data={"train": "rows"}, evaluation={"tasks": []})
    assert desk.etude("train", "toy.yaml").code == 0
    done = desk.etude("report", "memorization", "runs/toy", "--canaries", "rows/canaries.jsonl", "--rows", "4")
    assert done.code == 0, done.words
    for said in ("secret in 16 rows: rank", "epoch 1: training loss", "not measured: no answer is long enough"):
        assert said in done.words
    done = desk.etude("report", "frontier", "runs/toy")
    assert done.code == 2
    assert "was not measured on" in done.error
