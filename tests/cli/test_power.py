"""`etude power`: from numbers, from a base report, from two reports, from a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from etude.cli.main import main
from tests.cli.test_compare import BAD, GOOD, a_run, report_of

if TYPE_CHECKING:
    from pathlib import Path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["power", *arguments]) == 0
    return capsys.readouterr().out


def test_from_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "--items", "200", "--discordance", "0.2", "--gain", "0.1")
    assert "200 items show a gain of 9.1 points four times in five" in out
    assert "20.0 % of the items (or the gain) are right in one model only" in out
    assert "10.0 points" in out
    alone = said(capsys, "--items", "300", "--score", "0.6")
    assert "a base score of 60.0 %, mistakes independent of each other" in alone
    means = said(capsys, "--items", "60", "--deviation", "0.25")
    assert "60 items show a gain of 0.0919" in means
    assert "even the largest gain" in said(capsys, "--items", "4", "--score", "0.6", "--gain", "0.4")


def test_from_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")
    report_of(BAD).save(base)
    report_of(GOOD).save(tuned)
    alone = said(capsys, base)
    assert alone.startswith("40 items show a gain of")
    assert "the base's report): a base score of 25.0 %" in alone
    both = said(capsys, base, tuned, "--items", "500")
    assert "assumed (two reports): 80.0 % of the items" in both
    assert both.startswith("500 items show")
    assert said(capsys, str(a_run(tmp_path / "run", {"tickets": (GOOD, BAD)}))) == said(capsys, base, tuned)


def test_groups_make_items_worth_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = report_of("1" * 20 + "0" * 20)
    items = [dataclasses.replace(item, group=f"g{place // 10}") for place, item in enumerate(base.items)]
    dataclasses.replace(base, items=tuple(items)).save(tmp_path / "b.jsonl")
    out = said(capsys, str(tmp_path / "b.jsonl"), "--items", "400")
    assert "items come in groups: they are worth 40 independent ones" in out


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "how many items?"),
        (["--items", "30"], "say what the items are like"),
        (["--items", "30", "--score", "0.5", "--deviation", "1"], "say what the items are like"),
        (["--items", "1", "--score", "0.5"], "items: must be at least 2"),
        (["--items", "30", "--score", "1.5"], "--score: must be from 0 to 1"),
        (["--items", "30", "--score", "0.9", "--gain", "0.2"], "gain: must be above 0 and at most 0.1"),
        (["--items", "30", "--deviation", "0"], "--deviation: must be above 0"),
        (["--items", "30", "--score", "0.5", "--level", "95"], "level: must be from 0.5"),
        (["gone.jsonl"], "no such report"),
    ],
)
def test_what_cannot_be_planned(arguments: list[str], cause: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", *arguments]) == 2
    assert cause in capsys.readouterr().err


def test_several_tasks_and_scores_that_one_report_does_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run", {"tickets": (GOOD, BAD), "faq": (GOOD, BAD)})
    assert main(["power", str(run)]) == 2
    assert "which task? there are faq, tickets" in capsys.readouterr().err
    assert "40 items" in said(capsys, str(run), "--task", "faq")
    graded = report_of(BAD)
    items = [dataclasses.replace(item, scores={"exact_match": 0.3}) for item in graded.items]
    dataclasses.replace(graded, items=tuple(items)).save(tmp_path / "graded.jsonl")
    assert main(["power", str(tmp_path / "graded.jsonl")]) == 2
    assert "does not tell how gains of exact_match vary" in capsys.readouterr().err
