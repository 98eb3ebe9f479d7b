"""The warm process that forks toy trainings, and what an undisturbed training comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from etude.training.checkpoint import digest, find, restore
from tests.faults.trainer import RUN_ID, Job

ROOT = Path(__file__).parents[2]


class Trainers:
    """Runs jobs one after the other, each in a process of its own."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self.server = server

    def start(self, folder: Path, **job: Any) -> list[int]:
        """Process ids of the job's ranks; `finish` must follow."""
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(asdict(Job(str(folder), **job))) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def finish(self) -> list[int]:
        """Exit codes of the ranks, minus the signal for one that was killed."""
        return self._answer()

    def run(self, folder: Path, **job: Any) -> list[int]:
        self.start(folder, **job)
        return self.finish()

    def _answer(self) -> list[int]:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, "the process that forks the trainings has died"
        found: list[int] = json.loads(line)
        return found


@pytest.fixture(scope="session")
def trainers() -> Iterator[Trainers]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"ETUDE_TESTING": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "tests.faults.trainer"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Trainers(server)
        assert server.stdin is not None
        server.stdin.close()


@dataclass(frozen=True)
class Outcome:
    """All that an undisturbed run and a resumed one must have in common."""

    results: tuple[dict[str, Any], ...]
    """Hash of the weights handed back, updates, best update: for each rank."""
    checkpoint: str
    """Digest of the last checkpoint: weights, optimizer, best weights, guard."""
    steps: tuple[int, ...]
    """Of the checkpoints on disk."""
    samples: str
    """samples.jsonl, byte for byte."""
    answers: str
    """answers.jsonl, byte for byte."""
    metrics: tuple[dict[str, Any], ...]
    """metrics.jsonl without times."""


def outcome_of(folder: Path, world: int = 1) -> Outcome:
    """What a finished run left; also checks that it left nothing else."""
    checkpoints = folder / "checkpoints"
    leftovers = [path.name for path in [*checkpoints.iterdir(), *folder.iterdir()] if path.name.startswith(".")]
    assert [name for name in leftovers if not name.startswith(".lease-")] == []
    found = find(checkpoints, run_id=RUN_ID, identity={"data": "da7a"})
    assert found is not None
    state = restore(found.path)
    facts = {name: value for name, value in state.facts.items() if name != "journal"}  # times have varying lengths
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Outcome(
        results=tuple(json.loads((folder / f"result.{rank}.json").read_text()) for rank in range(world)),
        checkpoint=digest(type(state)(state.step, state.tensors, facts)),
        steps=tuple(sorted(int(path.name[5:]) for path in checkpoints.iterdir())),
        samples=(folder / "samples.jsonl").read_text(),
        answers=(folder / "answers.jsonl").read_text(),
        metrics=tuple({key: line[key] for key in line if key not in ("seconds", "time")} for line in lines),
    )


def words_of(folder: Path, rank: int = 0) -> str:
    return (folder / f"words.{rank}.txt").read_text()


@pytest.fixture(scope="session")
def undisturbed(trainers: Trainers, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome of a job that nothing happens to."""
    known: dict[str, Outcome] = {}

    def of(*, world: int = 1, dropout: float = 0.1) -> Outcome:
        key = f"{world} {dropout}"
        if key not in known:
            folder = tmp_path_factory.mktemp("undisturbed") / "run"
            assert trainers.run(folder, world=world, dropout=dropout) == [0] * world, words_of(folder)
            known[key] = outcome_of(folder, world)
        return known[key]

    return of
