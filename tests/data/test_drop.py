"""Rows that an audit named are left out, those alone, and only from the files that were audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.cli.main import main
from etude.data.drop import Drop
from etude.data.inputs import open_inputs
from etude.data.work import work
from etude.errors import DataError
from tests.data.audit.made import pairs, written


def test_an_audit_and_then_a_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pairs(50)
    rows[3]["completion"] = "Dear {{customer_name}}, it was bought here."
    rows[8]["completion"] = rows[8]["prompt"]
    written(Path("rows.jsonl"), rows)
    audit = ["data", "audit", "rows.jsonl", "--model", "none", "--json", "rows.audit.json"]
    assert main(audit) == 0
    found = json.loads(Path("rows.audit.json").read_text(encoding="utf-8"))
    (finding,) = (finding for finding in found["findings"] if finding["check"] == "placeholders")
    command = finding["command"].split()
    assert command[0] == "etude"
    assert main(command[1:]) == 0, "the recommended command runs as it stands"
    kept = Path("rows.without.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in kept] == [row for at, row in enumerate(rows) if at != 3]
    dropped = Path("rows.without.jsonl.dropped.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["line"] for line in dropped] == [4]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows, and an audit that names the second one."""
    path = written(tmp_path / "rows.jsonl", pairs(5))
    digest = open_inputs([path]).files[0].sha256
    places = [{"file": str(path), "line": 2, "shown": ""}]
    findings = [{"check": "echo", "rows": 1, "places": places}, {"check": "tags", "rows": 9, "places": places}]
    held = {"files": [str(path)], "input_hashes": [digest], "findings": findings}
    (tmp_path / "audit.json").write_text(json.dumps(held), encoding="utf-8")
    return path


def dropped(rows: Path, *findings: str, audit: str = "audit.json") -> int:
    step = Drop(audit=str(rows.with_name(audit)), findings=findings)
    return work(open_inputs([rows]), step, rows.with_name("out.jsonl")).rows_out


def test_only_named_rows_go(rows: Path) -> None:
    assert dropped(rows, "echo") == 4


@pytest.mark.parametrize(
    ("findings", "says"),
    [(("echoes",), "no finding 'echoes'; it found echo, tags"), (("tags",), "only 1 of its 9 rows")],
)
def test_what_an_audit_does_not_name_cannot_go(rows: Path, findings: tuple[str, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        dropped(rows, *findings)
    assert not rows.with_name("out.jsonl").exists()


def test_files_that_changed_or_were_not_audited_are_refused(rows: Path) -> None:
    other = written(rows.with_name("other.jsonl"), pairs(5))
    with pytest.raises(DataError, match="was not audited"):
        dropped(other, "echo")
    with rows.open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="has changed since"):
        dropped(rows, "echo")


@pytest.mark.parametrize("content", ["", "[]", '{"findings": 3}'])
def test_files_that_no_audit_wrote_are_refused(rows: Path, content: str) -> None:
    rows.with_name("audit.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="etude data audit"):
        dropped(rows, "echo")
    with pytest.raises(DataError, match="cannot be read"):
        dropped(rows, "echo", audit="missing.json")
