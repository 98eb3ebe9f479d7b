"""What was forgotten is measured before and after training, with probes that ship and with one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from etude.comparison.retention import Retention
from etude.cycle.measure import Measuring, named_tasks
from etude.cycle.retention import Retaining
from etude.cycle.show import Quiet
from etude.evaluation.options import EvaluationOptions
from etude.evaluation.report import Report
from etude.runs.directory import RunDirectory
from tests.toy import toy_loaded

if TYPE_CHECKING:
    import pytest

    from tests.cycle.conftest import Desk


@dataclass
class Saying(Quiet):
    """Keeps what was said."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)


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


def test_what_the_base_answered_is_known_to_later_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))

    def asked(run: str, text: str = "lazy", limit: int | None = None) -> tuple[Report, list[str]]:
        (tmp_path / "mine.jsonl").write_text(json.dumps({"text": f"the {text} dog sleeps"}) + "\n")
        (tmp_path / "mine.task.yaml").write_text("name: mine\ndata: mine.jsonl\nmetric: perplexity\n")
        show = Saying()
        options = EvaluationOptions(limit=limit)
        measuring = Measuring(RunDirectory(tmp_path / run), options, show, resume=False)
        (tmp_path / run).mkdir()
        retaining = Retaining(measuring, named_tasks([str(tmp_path / "mine.task.yaml")], "evaluation.retention"))
        retaining.measure_before(toy_loaded(seed=len(text)))
        saved = Report.load(tmp_path / run / "reports" / "retention" / "mine.base.jsonl")
        assert retaining.known == {"mine": saved}
        return saved, [line for line in show.lines if "known from an earlier run: mine" in line]

    first, told = asked("a")
    assert not told
    again, told = asked("b")
    assert told
    assert (again.items, again.summary) == (first.items, first.summary)
    assert not asked("c", text="quick")[1], "other rows, another model"
    assert not asked("d", limit=1)[1], "another setting"
    for kept in (tmp_path / "home" / "retention").iterdir():
        kept.write_bytes(kept.read_bytes()[:-9])
    torn, told = asked("e")
    assert not told
    assert torn.summary == first.summary


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
