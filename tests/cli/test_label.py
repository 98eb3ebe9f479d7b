"""Labelling on a real terminal: keys, undo, notes, what may not steer the screen, kill -9 and going on."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from etude.cli.main import main
from tests.cli.terminal_session import Terminal

ASKS = "q quit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"prompt": f"what is {i}?", "chosen": f"the fox {i}", "rejected": f"a dog {i}"} for i in range(6)]
    rows[0]["rejected"] = "\x1b[2J[bold]gone[/bold]"
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def label(folder: Path, *arguments: str, columns: int = 120, **environment: str) -> Terminal:
    fixed = ("label", "pairs.jsonl", "-o", "told.jsonl", "--annotator", "ann", "--repeat", "0")
    return Terminal(*fixed, *arguments, folder=folder, columns=columns, **environment)


def test_kill_9_between_decisions_loses_nothing(folder: Path) -> None:
    told = folder / "told.jsonl"
    with label(folder) as terminal:
        for key in "12":
            terminal.wait_for(ASKS)
            terminal.press(key)
        terminal.wait_for("3 of 6")
        terminal.kill()
    assert [row["preference"] for row in lines(told)] == [1, 2]
    with told.open("a") as file:
        file.write('{"prompt": "what is 2?", "answer_1": "to')  # as a kill in the middle of a write leaves it
    with label(folder) as terminal:
        terminal.wait_for("the last line was torn")
        terminal.wait_for("3 of 6")
        for key in "=s1":
            terminal.wait_for(ASKS)
            terminal.press(key)
        terminal.wait_for(ASKS)
        terminal.press("q")
        assert terminal.end() == 0
        assert "5 of 6 judged (1 skipped), all of it in told.jsonl" in terminal.said
    assert [row["preference"] for row in lines(told)] == [1, 2, "=", None, 1]
    with label(folder) as terminal:
        terminal.wait_for("6 of 6")
        terminal.press("1")
        assert terminal.end() == 0
        assert "next: etude data preferences told.jsonl -o pairs.jsonl" in terminal.said
    assert len({row["item"] for row in lines(told)}) == 6
    assert main(["data", "preferences", str(told), "-o", str(folder / "out.jsonl")]) == 0
    rows = lines(folder / "out.jsonl")
    assert len(rows) == 4
    for row, one in zip(rows, [row for row in lines(told) if row["preference"] in (1, 2)], strict=True):
        assert row["chosen"] == one[f"answer_{one['preference']}"]
        assert row["annotators"] == ["ann"]


def test_keys_notes_and_undo(folder: Path) -> None:
    with label(folder) as terminal:
        terminal.wait_for(ASKS)
        terminal.press("x")
        terminal.wait_for(ASKS)
        terminal.press("u")
        terminal.wait_for("there is nothing of yours to take back")
        terminal.press("n")
        terminal.wait_for("note: ")
        terminal.press("bee\x7f!\r")
        terminal.wait_for(ASKS)
        terminal.press("\x1b[A2")
        terminal.wait_for("2 of 6")
        assert lines(folder / "told.jsonl")[0]["note"] == "be!"
        terminal.wait_for(ASKS)
        terminal.press("u")
        terminal.wait_for("taken back")
        terminal.wait_for("1 of 6")
        assert lines(folder / "told.jsonl") == []
        terminal.wait_for(ASKS)
        terminal.press("1")
        terminal.wait_for("2 of 6")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 0
    (row,) = lines(folder / "told.jsonl")
    assert row["preference"] == 1
    assert "note" not in row
    assert row["seconds"] >= 0
    assert row["from"] == "pairs.jsonl:1"


@pytest.mark.parametrize("columns", [120, 60])
def test_answers_stand_beside_each_other_where_there_is_room(columns: int, folder: Path) -> None:
    with label(folder, columns=columns) as terminal:
        shown = terminal.wait_for(ASKS)
        terminal.press("\x03")
        assert terminal.end() == 0
    assert "\x1b[2J" not in terminal.said
    assert "\\x1b[2J[bold]gone[/bold]" in shown
    beside = [line for line in shown.splitlines() if "─ 1 ─" in line and "─ 2 ─" in line]
    assert bool(beside) == (columns == 120)


def test_thumbs_and_ratings(folder: Path) -> None:
    for mode, key, field, said in (("thumbs", "-", "thumb", "down"), ("rating", "4", "rating", 4)):
        with label(folder, "--mode", mode, "--annotator", mode) as terminal:
            terminal.wait_for("1 of 12")
            terminal.wait_for(ASKS)
            terminal.press(key)
            terminal.wait_for("2 of 12")
            terminal.press("q")
            assert terminal.end() == 0
        row = lines(folder / "told.jsonl")[-1]
        assert (row[field], row["annotator"]) == (said, mode)
        assert row["answer"] in ("the fox 0", "\x1b[2J[bold]gone[/bold]")


def test_edits_in_the_editor(folder: Path) -> None:
    editor = folder / "editor"
    editor.write_text('#!/bin/sh\nprintf "better" > "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    (folder / "pairs.jsonl").write_text('{"prompt": "q", "answer": "good"}\n{"prompt": "q2", "answer": "better"}\n')
    with label(folder, "--mode", "edit", EDITOR=str(editor), VISUAL="") as terminal:
        terminal.wait_for(ASKS)
        terminal.press("e")
        terminal.wait_for("2 of 2")
        terminal.wait_for(ASKS)
        terminal.press("e")
        terminal.wait_for("nothing was changed")
        terminal.wait_for(ASKS)
        terminal.press("s")
        assert terminal.end() == 0
    assert [(row["original"], row["edited"]) for row in lines(folder / "told.jsonl")] == [
        ("good", "better"),
        ("better", None),
    ]
    assert main(["data", "preferences", str(folder / "told.jsonl"), "-o", str(folder / "out.jsonl")]) == 0
    (row,) = lines(folder / "out.jsonl")
    assert (row["chosen"], row["rejected"]) == ("better", "good")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pairs.jsonl", "-o", "told.jsonl"], "labelling needs a terminal"),
        (["pairs.jsonl", "-o", "told.jsonl", "--repeat", "2"], "--repeat: must be from 0 to 1, got 2"),
        (["pairs.jsonl", "-o", "told.jsonl", "--columns", "x"], "--columns: 'x' is not FIELD=COLUMN"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["label", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_inputs_are_not_written_to(folder: Path) -> None:
    before = (folder / "pairs.jsonl").read_bytes()
    with Terminal("label", "pairs.jsonl", "-o", "./pairs.jsonl", "--annotator", "a", folder=folder) as terminal:
        assert terminal.end() == 2
        assert "is what is to be judged; choose another output" in terminal.said
    (folder / "texts.jsonl").write_text('{"text": "x"}\n')
    with Terminal("label", "texts.jsonl", "-o", "told.jsonl", "--annotator", "a", folder=folder) as terminal:
        assert terminal.end() == 2
        assert "there is nothing to judge" in terminal.said
    assert (folder / "pairs.jsonl").read_bytes() == before
    assert not (folder / "told.jsonl").exists()
