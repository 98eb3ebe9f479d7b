"""The rows that advice works with: none that gives an item away, some set aside for choices, the rest in order."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etude import durable
from etude.advice.options import AdviseOptions
from etude.cycle.show import Show
from etude.data.leaks import LeakFinder
from etude.data.read import read
from etude.data.sides import sides
from etude.data.synthesis.seeds import passages
from etude.data.write import columns_for
from etude.errors import DataError
from etude.evaluation.answers import usable_prompts
from etude.evaluation.tasks import Task
from etude.records import Conversation, Text

ASIDE, SHARE_ASIDE = 64, 0.2
"""Rows on which the number of examples is chosen: so many, or that share where there are few."""
NGRAM, ALIKE = 13, 0.8
PASSAGE_LETTERS = 1_200
FEWEST = 10


@dataclass(frozen=True)
class AdviceRows:
    """Everything that prompts and training take from."""

    learn: tuple[Conversation, ...]
    """In the order in which they are learned from."""
    aside: Task | None
    """Rows set aside, as a task like the user's."""
    passages: tuple[str, ...]

    def first(self, number: int, folder: Path) -> Path:
        """A file with the first so many rows."""
        path = folder / f"rows-{number}.jsonl"
        durable.write_text(path, _lines(self.learn[:number]))
        return path

    def sizes(self, wanted: Sequence[int]) -> list[int]:
        """What can be learned from: the numbers that are there; all rows in the place of the first that is not."""
        there = [size for size in wanted if size <= len(self.learn)]
        return there if len(there) == len(wanted) or len(self.learn) in there else [*there, len(self.learn)]


def advice_rows(task: Task, options: AdviseOptions, folder: Path, show: Show) -> AdviceRows:
    """Reads training rows and documents.

    Raises:
        DataError: too few rows, or documents without text.
    """
    held: list[str] = []
    for source in options.documents:
        for record in read(source, (Text,)):
            assert isinstance(record, Text)
            held += passages(record.text, PASSAGE_LETTERS)
    if options.documents and not held:
        raise DataError("hold no text", where=", ".join(options.documents))
    if options.train is None:
        return AdviceRows((), None, tuple(held))
    rows = _without_leaks(task, options.train, show)
    random.Random(options.seed).shuffle(rows)
    number = min(ASIDE, int(SHARE_ASIDE * len(rows)))
    if len(rows) < FEWEST:
        raise DataError(
            f"holds {len(rows)} rows that can be used", where=options.train, remedy=f"give {FEWEST} or more"
        )
    return AdviceRows(tuple(rows[number:]), _aside(task, rows[:number], folder), tuple(held))


def _lines(rows: Sequence[Conversation]) -> str:
    return "".join(json.dumps(columns_for(row), ensure_ascii=False) + "\n" for row in rows)


def _without_leaks(task: Task, train: str, show: Show) -> list[Conversation]:
    columns = {name: column for name, column in task.columns.items() if name not in task.metric.reads}
    records = read(train, (Conversation,), format=task.format, columns=columns, system=task.system)
    _, prompts, _, _ = usable_prompts(task)
    finder = LeakFinder([sides(prompt) for prompt in prompts], ngram=NGRAM, threshold=ALIKE)
    rows = [record for record in records if isinstance(record, Conversation)]
    for row in rows:
        finder.take(sides(row))
    leaks = finder.finish()
    if leaks:
        show.say(f"{len(leaks):,} training rows give an item of the task away and are left out")
    return [row for place, row in enumerate(rows) if place not in leaks]


def _aside(task: Task, rows: Sequence[Conversation], folder: Path) -> Task | None:
    """None where the metric reads columns that rows of a chat do not have."""
    if task.metric.reads or not rows:
        return None
    path = folder / "aside.jsonl"
    durable.write_text(path, _lines(rows))
    return replace(task, name=f"{task.name}-aside", data=str(path), format="auto", columns={}, system=None, limit=None)
