"""etude data audit: the summary, the page, the JSON, the exit code, and what it refuses to replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.cli.main import main
from tests.data.audit.made import asked, pairs, written


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one broken encoding, in the current folder."""
    monkeypatch.chdir(tmp_path)
    made = pairs(50)
    made[4]["prompt"] += " Café".encode().decode("cp1252")
    written(tmp_path / "rows.jsonl", made)
    return Path("rows.jsonl")


def run(*arguments: object) -> int:
    return main(["data", "audit", *map(str, arguments), "--model", "none"])


def test_a_summary_with_places_and_commands(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(rows) == 0
    said = capsys.readouterr().out
    assert "50 rows" in said
    assert "[misread-encoding]" in said
    assert "rows.jsonl:5" in said
    assert "mend: etude data clean rows.jsonl --copies keep" in said
    assert "1 error, 0 warnings" in said
    assert json.loads(Path("rows.audit.json").read_text(encoding="utf-8"))["rows"] == 50
    assert Path("rows.audit.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_exit_code_is_what_was_asked_for(rows: Path, tmp_path: Path) -> None:
    assert run(rows, "--fail-on", "error") == 1
    clean = written(tmp_path / "clean.jsonl", pairs(50))
    assert run(clean, "--fail-on", "warning") == 0


def test_findings_for_programs(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(rows, "--json", "-") == 0
    held = json.loads(capsys.readouterr().out)
    (finding,) = (finding for finding in held["findings"] if finding["check"] == "misread-encoding")
    assert finding["severity"] == "error"
    assert [(place["file"], place["line"]) for place in finding["places"]] == [("rows.jsonl", 5)]
    assert not Path("rows.audit.json").exists()
    assert run(rows, "--json", "found.json") == 0
    assert json.loads(Path("found.json").read_text(encoding="utf-8"))["rows"] == 50
    assert run(rows, "--json", "found.json") == 0, "an earlier audit is replaced"


def test_nothing_else_is_replaced(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows.read_bytes()
    assert run(rows, "--page", rows) == 2
    assert run(rows, "--json", rows) == 2
    assert "no audit" in capsys.readouterr().err
    assert rows.read_bytes() == before


def test_production_is_compared(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traffic = [{"prompt": f"Translate page {at} of the French contract into German before Monday"} for at in range(40)]
    assert run(rows, "--production", written(tmp_path / "traffic.jsonl", traffic)) == 0
    assert "40 rows of production are like no training row" in capsys.readouterr().out
    like = written(tmp_path / "like.jsonl", [{"prompt": asked(at)} for at in range(88, 138)])
    assert run(rows, "--production", like) == 0
    assert "uncovered-inputs" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--near", "2"], "--near"),
        (["--embedder", "nowhere"], "nowhere"),
        (["--groups", "planet"], "no column 'planet'"),
        (["--production", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    rows: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(rows, *flags) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
