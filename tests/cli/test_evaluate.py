"""`etude evaluate`: what it prints about a report, and mistakes said before a model is loaded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rich.console import Console

from etude.cli.evaluate import remarks, samples, scores_table
from etude.cli.main import main
from etude.evaluation.report import ItemResult, Report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def item(place: int, score: float, *, finish: str = "stop", answer: str = "a") -> ItemResult:
    return ItemResult(
        id=f"a:{place}", prompt="p", reference="r", answer=answer, scores={"accuracy": score}, finish=finish
    )


REPORT = Report(
    task="intents", metric="accuracy", subject="runs/[x]", model_hash="", data_sha256="",
    items=(item(1, 0.0), item(2, 1.0), item(3, 0.0, finish="length"), item(4, 0.0, answer="")),
    summary={"unknown": 0.5, "accuracy": 0.25, "macro_f1": 0.125, "stop_rate": 0.75, "mean_answer_tokens": 1234.5},
    intervals={"accuracy": (0.04, 0.7)}, settings={"max_new_tokens": 24},
)  # fmt: skip


def printed(report: Report) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(scores_table(report))
    return console.export_text()


def test_the_primary_score_leads_with_its_interval() -> None:
    lines = [line.split() for line in printed(REPORT).splitlines() if line.strip()]
    assert lines[0] == ["intents,", "4", "items,", "runs/[x]"]
    assert lines[3] == ["accuracy", "25.0", "%", "4.0", "%", "to", "70.0", "%"]
    assert ["mean_answer_tokens", "1,234.5"] in lines
    assert ["stop_rate", "75.0", "%"] in lines


def test_nats_are_not_percent() -> None:
    report = dataclasses.replace(
        REPORT, metric="nats_per_token", higher_is_better=False, summary={"nats_per_token": 1.5, "num_tokens": 1200.0},
        intervals={"nats_per_token": (1.25, 2.0)},
    )  # fmt: skip
    lines = [line.split() for line in printed(report).splitlines()]
    assert ["nats_per_token", "1.5000", "1.2500", "to", "2.0000"] in lines
    assert ["num_tokens", "1,200"] in lines
    assert samples(report) == []


def test_cut_and_empty_answers_are_pointed_out() -> None:
    assert remarks(REPORT) == ["1 of 4 answers were cut at max_new_tokens (24)", "1 of 4 answers are empty"]
    assert remarks(dataclasses.replace(REPORT, items=REPORT.items[:2])) == []


def test_samples_show_both_kinds() -> None:
    assert [one.id for one in samples(REPORT)] == ["a:2", "a:1", "a:3"]


def test_a_mistake_in_the_task_file_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "a.task.yaml"
    task.write_text("name: a\ndata: b.jsonl\nmetric: lable\n")
    assert main(["evaluate", "no-such-model", str(task)]) == 2
    assert "did you mean 'label'?" in capsys.readouterr().err
