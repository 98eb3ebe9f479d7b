"""`etude compare`: report files and run directories, one sentence each, and the gate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.main import main
from etude.evaluation.report import ItemResult, Report
from tests.runs.made import make_run

if TYPE_CHECKING:
    import pytest


def report_of(scores: str, *, task: str = "tickets") -> Report:
    """`scores`: one character an item, 1 or 0."""
    items = tuple(
        ItemResult(id=f"a:{place}", prompt="", reference="", answer="", scores={"exact_match": float(score)})
        for place, score in enumerate(scores)
    )
    return Report(
        task=task, metric="exact_match", subject="some [model]", model_hash="", items=items, data_sha256="d",
        summary={"exact_match": scores.count("1") / len(scores)},
    )  # fmt: skip


GOOD, BAD, ODD = "1" * 38 + "00", "0" * 30 + "1" * 10, "01" * 20


def a_run(folder: Path, tasks: dict[str, tuple[str, str]]) -> Path:
    (folder / "reports").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    for task, (tuned, base) in tasks.items():
        report_of(tuned, task=task).save(folder / "reports" / f"{task}.jsonl")
        report_of(base, task=task).save(folder / "reports" / f"{task}.base.jsonl")
    return folder


def test_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, base = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    report_of(GOOD).save(tuned)
    report_of(BAD).save(base)
    assert main(["compare", str(tuned), str(base)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("better: exact_match on tickets went from 25.0 % to 95.0 % (gain +70.0 points")
    assert "McNemar" in out
    assert main(["compare", str(base), str(tuned)]) == 0
    assert capsys.readouterr().out.startswith("worse: ")


def test_a_name_in_a_report_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, base = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for scores, place in ((GOOD, tuned), (BAD, base)):
        report_of(scores, task="\x1b[2Jt").save(place)
    assert main(["compare", str(tuned), str(base)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("\\x1b[2Jt") == 2, "in the sentence and in the table"


def test_the_gate_lets_only_better_through(tmp_path: Path) -> None:
    tuned, base = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    report_of(GOOD).save(tuned)
    report_of(BAD).save(base)
    assert main(["compare", str(tuned), str(base), "--gate"]) == 0
    assert main(["compare", str(tuned), str(base), "--gate", "--smallest-gain", "0.69"]) == 1
    assert main(["compare", str(base), str(tuned), "--gate"]) == 1
    assert main(["compare", str(tuned), str(tuned), "--gate"]) == 1


def test_a_run_against_its_base_and_against_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = a_run(tmp_path / "one", {"tickets": (GOOD, BAD), "faq": (ODD, ODD)})
    second = a_run(tmp_path / "two", {"tickets": (BAD, BAD)})
    assert main(["compare", str(first)]) == 0
    out = capsys.readouterr().out
    assert "better: exact_match on tickets" in out
    assert "not enough evidence: exact_match on faq" in out
    assert "Holm-corrected among 2" in out
    assert main(["compare", str(first), "--task", "faq"]) == 0
    assert "Holm" not in capsys.readouterr().out
    assert main(["compare", str(first), str(second)]) == 0
    assert "only on one side: faq" in capsys.readouterr().out
    assert main(["compare", str(first), str(second / "reports" / "tickets.jsonl")]) == 0
    assert "better: exact_match on tickets" in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "one", {"tickets": (GOOD, BAD)})
    report = run / "reports" / "tickets.jsonl"
    other = tmp_path / "other.jsonl"
    dataclasses.replace(report_of(BAD), data_sha256="changed").save(other)
    for arguments, said in (
        ([str(report)], "compare with what?"),
        ([str(run), "--task", "gone"], "do not both have the task 'gone'"),
        ([str(tmp_path / "gone.jsonl"), str(report)], "no such report"),
        ([str(tmp_path)], "holds no run"),
        ([str(report), str(other)], "data_sha256: 'd' against 'changed'"),
        ([str(run), "--level", "7"], "level: must be from 0.5"),
        ([str(run), "--metric", "gone"], "have no 'gone'"),
    ):
        assert main(["compare", *arguments]) == 2
        assert said in capsys.readouterr().err


GATES = """
model: m
data: {train: rows.jsonl}
gates:
  - {task: tickets, better_by: 0.3}
  - {task: faq, no_worse_than: 0.05}
"""


def test_a_run_files_gates_are_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "one", {"tickets": (GOOD, BAD), "faq": (ODD, ODD)})
    (tmp_path / "run.yaml").write_text(GATES)
    assert main(["compare", str(run), "--gates", str(tmp_path / "run.yaml")]) == 1
    out = capsys.readouterr().out
    assert "gate passed: exact_match on tickets better by more than 30.0 points: gain +70.0 points" in out
    assert "gate not enough evidence (counts as not passed): exact_match on faq loses no more than 5.0 points" in out
    assert "1 of 2 gates passed" in out
    (tmp_path / "run.yaml").write_text(GATES.rpartition("  - ")[0])
    assert main(["compare", str(run), "--gates", str(tmp_path / "run.yaml")]) == 0
    assert "1 of 1 gates passed" in capsys.readouterr().out
    (tmp_path / "run.yaml").write_text(GATES.partition("gates:")[0])
    assert main(["compare", str(run), "--gates", str(tmp_path / "run.yaml")]) == 2
    assert "has no gates" in capsys.readouterr().err
    (tmp_path / "run.yaml").write_text(GATES.replace("faq", "gone"))
    assert main(["compare", str(run), "--gates", str(tmp_path / "run.yaml")]) == 2
    assert "gates[1].task: no task 'gone' is measured; there are faq, tickets" in capsys.readouterr().err
    assert main(["compare", str(run), "--gate", "--gates", str(tmp_path / "run.yaml")]) == 2


def test_seeds_of_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for place, scores in enumerate((GOOD, GOOD[::-1], BAD, ODD)):
        names.append(str(tmp_path / f"{place}.jsonl"))
        report_of(scores).save(names[-1])
    assert main(["compare", names[0], names[2], "--seeds", names[1], "--base-seeds", names[3]]) == 0
    out = capsys.readouterr().out
    assert "2 and 2 models; between seeds a standard deviation of 0.0 and 17.7 points" in out
    assert out.startswith("not enough evidence: exact_match on tickets went from 37.5 % to 95.0 %")
    assert "not checked to be the same settings with other seeds" in out
    assert main(["compare", names[0], names[2], "--seeds", names[1]]) == 0
    assert "2 and 1 models" in capsys.readouterr().out


def test_runs_of_other_settings_are_no_seeds_of_one_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(tmp_path / name) for name in "abcd"]
    for name, rate, seed in zip(runs, (1e-3, 1e-3, 1e-4, 1e-3), (0, 1, 2, 1), strict=True):
        run = make_run(Path(name), learning_rate=rate, seed=seed)
        settings = run.run_file.read_text().replace("{epochs: 2", f"{{seed: {seed}, epochs: 2")
        run.run_file.write_text(settings)
        report_of(GOOD if seed else BAD).save(run.report("tickets"))
    assert main(["compare", runs[1], runs[0]]) == 0
    assert "one training seed a side" in capsys.readouterr().out
    assert main(["compare", runs[1], runs[0], "--seed-deviation", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("not enough evidence")
    assert main(["compare", runs[0], runs[2], "--seeds", runs[1]]) == 0
    assert "2 and 1 models" in capsys.readouterr().out
    assert main(["compare", runs[0], "--seeds", runs[2], runs[3], runs[1]]) == 2
    said = capsys.readouterr().err
    assert f"{runs[2]}: training.learning_rate is 0.0001, in {runs[0]} it is 0.001" in said
    assert f"{runs[1]}: its seed is 1, as that of {runs[3]} is" in said
    assert main(["compare", runs[0], "--base-seeds", runs[1]]) == 2


def test_a_difference_too_small_to_matter_is_equivalent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, base = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    report_of("1" * 400 + "01" * 4).save(tuned)
    report_of("1" * 400 + "10" * 4).save(base)
    assert main(["compare", str(tuned), str(base), "--smallest-gain", "0.05"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("equivalent: exact_match on tickets went from")
    assert "less than 5.0 points either way" in out
    assert main(["compare", str(tuned), str(base)]) == 0
    assert capsys.readouterr().out.startswith("not enough evidence")
