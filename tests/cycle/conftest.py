"""A folder to work in (a toy base model, rows, a task, a run file), and `etude` on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import Command
from tests.toy import toy_module, toy_tokenizer

ROOT = Path(__file__).parents[2]
LABELS = ("refund", "card", "capital", "dog")
SUBJECTS = ("money", "arrived", "France", "jumps")
STEPS = 12


@dataclass(frozen=True)
class Done:
    """What a command line came to."""

    code: int
    words: str
    """stdout and stderr."""
    seconds: float

    @property
    def last_line(self) -> str:
        return self.words.rstrip().rpartition("\n")[2]

    @property
    def error(self) -> str:
        """From `error:` on."""
        return self.words[self.words.index("error: ") :].rstrip()


class Server:
    """The warm process that forks commands."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process that forks the commands has died"
        return int(json.loads(line))


@dataclass(frozen=True)
class Started:
    """A command line that is running."""

    server: Server
    pid: int
    words: Path
    at: float

    def wait(self) -> Done:
        code = self.server.ask({"wait": self.pid})
        return Done(code, self.words.read_text(encoding="utf-8"), time.monotonic() - self.at)


@dataclass(frozen=True)
class Desk:
    """A folder with all that a run needs, in which `etude` is called."""

    folder: Path
    server: Server

    def start(self, *arguments: str, stdin: str | None = None, file_size: int | None = None, **env: str) -> Started:
        number = len(list(self.folder.glob(".words-*")))
        words, asked = self.folder / f".words-{number}", self.folder / f".stdin-{number}"
        asked.write_text(stdin or "", encoding="utf-8")
        environment = {"ETUDE_HOME": str(self.folder / "home"), "ETUDE_FAULT": "", **env}
        command = Command(list(arguments), str(self.folder), str(words), environment, str(asked), file_size)
        return Started(self.server, self.server.ask({"start": asdict(command)}), words, time.monotonic())

    def etude(self, *arguments: str, stdin: str | None = None, file_size: int | None = None, **env: str) -> Done:
        """Runs the command to its end."""
        return self.start(*arguments, stdin=stdin, file_size=file_size, **env).wait()

    def write(self, name: str, content: str | bytes) -> None:
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def run_file(self, **sections: object) -> None:
        """Writes toy.yaml with some sections' settings changed."""
        settings: dict[str, Any] = {
            "model": "./base",
            "data": {"train": "train.jsonl", "holdout": 0.2, "max_tokens": 64, "tokens_per_batch": 256},
            "technique": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.1},
            "training": {"steps": STEPS, "learning_rate": 1e-2, "batch_rows": 4, "save_every": 5},
            "evaluation": {"tasks": ["toy.task.yaml"], "retention": [], "drift_rows": 0},
            "output": "runs/toy",
        }
        for name, value in sections.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        self.write("toy.yaml", yaml.safe_dump(settings))

    def entries(self) -> set[str]:
        """Every visible file and folder but Etude's own."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in found if path.parts[0] != "home" and not any(p[0] == "." for p in path.parts)}


def rows(count: int = 24) -> list[dict[str, Any]]:
    """Short questions, each with the label of its subject as the answer."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"{SUBJECTS[number % 4]} {number}"},
                {"role": "assistant", "content": LABELS[number % 4]},
            ]
        }
        for number in range(count)
    ]


def as_jsonl(content: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in content)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"ETUDE_TESTING": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.commands"],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    toy_module(hidden=64).save_pretrained(folder / "base")
    toy_tokenizer().save_pretrained(folder / "base")
    (folder / "train.jsonl").write_text(as_jsonl(rows()), encoding="utf-8")
    (folder / "toy.task.yaml").write_text(
        "name: toy\ndata: train.jsonl\nmetric: exact_match\nmax_new_tokens: 6\nlimit: 8\n", encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="session")
def new_desk(template: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Desk]:
    def make() -> Desk:
        folder = tmp_path_factory.mktemp("work") / "desk"
        shutil.copytree(template, folder)
        desk = Desk(folder, server)
        desk.run_file()
        return desk

    return make


@pytest.fixture
def desk(new_desk: Callable[[], Desk]) -> Desk:
    """A desk of the test's own."""
    return new_desk()


@pytest.fixture(scope="session")
def finished(new_desk: Callable[[], Desk]) -> Desk:
    """A desk with an undisturbed run in runs/toy; tests read it, and put what they make elsewhere."""
    desk = new_desk()
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    return desk


def weights(run: Path) -> bytes:
    """The learned weights, byte for byte."""
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def diary(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the times."""
    return [
        {name: line[name] for name in line if name not in ("seconds", "time")}
        for line in lines_of(run / "metrics.jsonl")
    ]
