"""`etude iterate` on the toy model: finds the label that was cut to two rows, adds what it needs, loses nothing."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from etude.config import load_run_file
from etude.cycle.halves import halves_of
from etude.cycle.proposing import Sources, propose
from etude.cycle.show import Quiet
from etude.data.sides import Sides
from etude.data.synthesis.asking import Asked
from etude.diagnosis.explanation import load_explanation
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.errors import DataError
from etude.evaluation.report import Report
from etude.evaluation.tasks import load_task
from tests.cycle.conftest import LABELS, Desk, as_jsonl, lines_of, rows
from tests.cycle.test_synthesize import settings
from tests.endpoints.chat_server import chat_server

OUT = "runs/toy.iterations"


def weakened(desk: Desk) -> None:
    """Of the fourth label two rows are learned, some of the others wait in a pool beside rows that nobody needs."""
    asked, given = rows(108)[60:], rows(48)
    desk.write("eval.jsonl", as_jsonl(asked))
    desk.write("few.jsonl", as_jsonl([row for n, row in enumerate(given) if n % 4 != 3 or n < 8]))
    desk.write("pool.jsonl", as_jsonl([*given[8:28], *asked[3:12]]))
    desk.write("all.task.yaml", "name: all\ndata: eval.jsonl\nmetric: label\nmax_new_tokens: 6\n")
    desk.run_file(
        data={"train": "few.jsonl", "holdout": 0.1},
        evaluation={"tasks": ["all.task.yaml"]},
        technique="full",
        training={"steps": 80, "learning_rate": 3e-3, "save_every": 20},
    )


def teacher() -> Callable[[list[dict[str, str]]], str]:
    """Writes what is wanted, an item of the evaluation, a row that is there, another label, and nothing, in turn."""
    turns = itertools.count()
    places = itertools.count(1000, 37)

    def says(messages: list[dict[str, str]]) -> str:
        written = [("jumps 63", "dog"), ("jumps 11", "dog"), ("France jumps", "capital")]
        turn = next(turns) % 6
        if turn == 5:
            return "Gladly!"
        asked, answer = written[turn] if turn < len(written) else (f"jumps {next(places)}", "dog")
        return json.dumps({"prompt": asked, "completion": answer})

    return says


@dataclass
class Writes:
    """Always the same text; notes which answer to the same question was asked for."""

    text: str
    samples: list[int] = field(default_factory=list)
    name: str = "a writer"
    varies: bool = True

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        for ask in asks:
            self.samples.append(ask.sample)
            yield Reply(self.text, "stop", 0, 0)

    def cost(self, reply: Reply) -> float:
        return 0.0


def _nothing_is_written_twice_nor_in_silence(desk: Desk, out: Path) -> None:
    explanation = load_explanation(out / "explanation-0.json")
    report = Report.load(out / "reports" / "all-steering-0.jsonl")
    data = load_run_file(desk.folder / "toy.yaml").data
    asked: list[int] = []
    for iteration, text, says in (
        (1, "What a nice label!", "none of 10 rows was written: all were left out: 40 no example in the answer"),
        (2, json.dumps({"prompt": "jumps 7", "completion": "dog"}), "all were left out: 40 copy"),
        (3, json.dumps({"prompt": "jumps 63", "completion": "dog"}), "all were left out: 40 leak"),
    ):
        writer = Writes(text)
        sources = Sources(None, data, Asked(writer), [Sides("jumps 63", "dog")], 0, iteration)
        made = propose(
            explanation, report, sources, Quiet(), budget=12, train=out / "train-0.jsonl", folder=desk.folder
        )  # fmt: skip
        assert made.rows == ()
        assert says in made.notes[0]
        asked += writer.samples
    assert len(set(asked)) == len(asked), "each iteration asks for other answers to the same few seeds"


def test_a_weak_label_is_found_and_mended_whatever_happens_meanwhile(desk: Desk) -> None:
    weakened(desk)
    with chat_server(says=teacher()) as server:
        model = settings(desk, server, "teacher.yaml")
        command = ("iterate", "toy.yaml", "--pool", "pool.jsonl", "--model", model, "--rows", "12", "--iterations", "1")
        done = desk.etude(*command)
    assert done.code == 75, done.words
    assert "a proposal waits for a yes" in done.words
    out = desk.folder / OUT
    proposed = lines_of(out / "proposal-1.jsonl")
    made = [row for row in proposed if "synthesis" in row]
    assert len(proposed) - len(made) == 5, "what the pool has comes first"
    assert made, done.words
    assert all(row["synthesis"]["model"] == "big" for row in made)
    assert f"label=dog: {len(made)} of 5 rows written" in done.words
    for reason in ("answer that no seed has", "no example in the answer", "leak", "known already"):
        assert reason in done.words
    assert len({row["messages"][0]["content"] for row in proposed}) == len(proposed)
    assert {row["proposed_for"] for row in proposed} == {"label=dog"}
    assert {row["messages"][1]["content"] for row in proposed} == {"dog"}
    asked = {row["messages"][0]["content"] for row in lines_of(desk.folder / "eval.jsonl")}
    assert not {row["messages"][0]["content"] for row in proposed} & asked  # the pool's leak is not proposed
    _nothing_is_written_twice_nor_in_silence(desk, out)
    (out / "proposal-1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in proposed[1:]), "utf-8")

    started = desk.start(*command, "--yes")
    deadline = time.monotonic() + 300
    while not (out / "iteration-1" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait().code == -signal.SIGKILL
    done = desk.etude(*command, "--yes")
    assert done.code == 0, done.words
    learned = lines_of(out / "train-1.jsonl")
    assert len(learned) == len(lines_of(out / "train-0.jsonl")) + len(proposed) - 1  # as the person left it
    first, second = (json.loads((out / f"record-{n}.json").read_text("utf-8")) for n in (0, 1))
    assert first["worse"] == ["label=dog"]
    assert second["steering"] > first["steering"]
    assert second["final"] > first["final"]
    [verdict] = json.loads((out / "verdict.json").read_text("utf-8"))["verdicts"]
    assert verdict["answer"] == "better", done.words
    assert (out / "iterations.png").read_bytes().startswith(b"\x89PNG")
    assert "decided nothing" in (out / "iterations.html").read_text("utf-8")

    before = (out / "record-1.json").stat().st_mtime_ns
    again = desk.etude(*command, "--yes")
    assert (again.code, again.last_line) == (0, done.last_line)
    assert (out / "record-1.json").stat().st_mtime_ns == before
    changed = desk.etude(*command, "--yes", "training.learning_rate=1e-3")
    assert changed.code == 2
    assert "run_file has changed" in changed.words
    assert load_run_file(out / "best.yaml").data.train.endswith("train-1.jsonl")


def test_items_are_divided_fairly_and_groups_stay_together(tmp_path: Path) -> None:
    lines = [
        {"prompt": f"question {n % 90}", "completion": LABELS[n % 4], "group": f"g{n % 30}" if n < 60 else None}
        for n in range(100)
    ]
    (tmp_path / "eval.jsonl").write_text(as_jsonl(lines), "utf-8")
    (tmp_path / "t.task.yaml").write_text("name: t\ndata: eval.jsonl\nmetric: label\n", "utf-8")
    task = load_task(tmp_path / "t.task.yaml")
    halves = halves_of(task, tmp_path, final_share=0.5, seed=0)
    steering, final = (lines_of(Path(one.data)) for one in (halves.steering, halves.final))
    assert sorted(map(json.dumps, [*steering, *final])) == sorted(map(json.dumps, lines))
    assert not {row["group"] for row in steering if row["group"]} & {row["group"] for row in final}
    assert abs(len(steering) - len(final)) <= 8
    again = halves_of(task, tmp_path, final_share=0.5, seed=0)
    assert lines_of(Path(again.final.data)) == final
    other = halves_of(task, tmp_path, final_share=0.3, seed=1)
    assert 20 <= other.items[1] <= 40
    (tmp_path / "eval.jsonl").write_text(as_jsonl(lines[:30]), "utf-8")
    with pytest.raises(DataError, match="too few for two parts"):
        halves_of(task, tmp_path, final_share=0.5, seed=0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give a pool, a model that writes them, or both"),
        (("--pool", "pool.jsonl", "--task", "other"), "no task is called 'other'"),
        (("--pool", "pool.jsonl", "objective.kind=dpo"), "this objective learns from others"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    done = desk.etude("iterate", "toy.yaml", *arguments)
    assert done.code == 2, done.words
    assert says in done.words
    assert not (desk.folder / "runs").exists()
