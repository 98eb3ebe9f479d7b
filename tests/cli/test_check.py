"""`etude check` on good and bad run files, through the real command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from etude.config import load_run_file

GOOD = """\
model: smollm2-135m-instruct
data: {train: tickets.jsonl, holdout: 0.1, max_tokens: 1024}
technique: {kind: lora, rank: 16, alpha: 32}
training: {epochs: 2, learning_rate: 1e-3, batch_rows: 32}
evaluation: {tasks: [tickets.task.yaml]}
output: runs/tickets
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that GOOD names."""
    (tmp_path / "tickets.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "tickets.task.yaml").write_text("name: tickets\ndata: tickets.jsonl\nmetric: exact_match\n")
    return tmp_path


def check(folder: Path, content: bytes | str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`etude check run.yaml` in that folder."""
    if content is not None:
        (folder / "run.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    command = [sys.executable, "-m", "etude.cli.main", "check", "run.yaml", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


def test_a_good_run_file_is_summed_up(folder: Path) -> None:
    done = check(folder, GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "run.yaml is fine",
        "  model       smollm2-135m-instruct (auto precision)",
        "  data        tickets.jsonl, 10% held out, rows up to 1,024 tokens",
        "  technique   lora (rank 16)",
        "  objective   sft",
        "  training    2 epochs, 32 rows an update, learning rate 0.001",
        "  evaluation  tickets.task.yaml",
        "  output      runs/tickets",
    ]


def test_the_resolved_run_file_can_be_trained_in_its_place(folder: Path) -> None:
    done = check(folder, GOOD, "--resolved", "training.epochs=3")
    (folder / "resolved.yaml").write_text(done.stdout)
    assert load_run_file(folder / "resolved.yaml") == load_run_file(folder / "run.yaml", ["training.epochs=3"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            GOOD.replace("max_tokens", "max_tokns"),
            ["data.max_tokns (line 2): unknown setting; did you mean 'max_tokens'?"],
        ),
        (GOOD.replace("32}\nev", "big}\nev"), ["training.batch_rows (line 4): expected a whole number, got 'big'"]),
        (
            GOOD.replace("tickets.jsonl", "ticket.jsonl").replace("rank", "rnk"),
            [
                "data.train (line 2): no such file: ",
                "; did you mean 'tickets.jsonl'?",
                "technique.rnk (line 3): unknown",
            ],
        ),
        (GOOD + "output: runs/other\n", ["output (line 6): given twice, on lines 6 and 7"]),
        ("", ["run.yaml: is empty; a run file needs at least model and data"]),
        ("model: {name: m\n", ["run.yaml:2: is not YAML: "]),
        ("model:\n\tname: m\n", ["run.yaml:2: a tab is used for indentation; YAML allows only spaces there"]),
        ("tickets\n", ["run.yaml: expected settings such as 'model: …', got 'tickets'"]),
        (GOOD.encode("utf-16"), ["run.yaml: is not UTF-8 text (byte 0xff at offset 0); save it as UTF-8"]),
        ("# où\n".encode("latin-1") + GOOD.encode(), ["run.yaml: is not UTF-8 text (byte 0xf9 at offset 3)"]),
        (None, ["run.yaml: no such file"]),
    ],
)
def test_a_bad_run_file_is_explained(folder: Path, content: bytes | str | None, says: list[str]) -> None:
    done = check(folder, content)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: run.yaml")
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in done.stderr


def test_changes_are_checked_too(folder: Path) -> None:
    done = check(folder, GOOD, "training.stps=50")
    assert done.returncode == 2
    assert "training.stps (command line): unknown setting; did you mean 'steps'?" in done.stderr
