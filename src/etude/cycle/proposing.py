"""Rows that might help where a run fails: from a pool that the user has, and from a model that writes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude import durable
from etude.cycle.show import Show
from etude.data.audit.example import Sample, example
from etude.data.audit.vectors import Embed
from etude.data.inputs import Reading, open_inputs
from etude.data.leaks import LeakFinder
from etude.data.options import DataOptions
from etude.data.read import read
from etude.data.sides import Sides, sides
from etude.data.synthesis.asking import Asked
from etude.data.synthesize import Synthesize
from etude.data.work import work
from etude.data.write import columns_for
from etude.diagnosis.explaining import failures
from etude.diagnosis.explanation import Explanation, Slice
from etude.diagnosis.nearest import TrainingRow, space_of
from etude.diagnosis.proposing import Quota, chosen, quotas
from etude.errors import DataError, Problems
from etude.evaluation.report import Report
from etude.records import Conversation, Record

MOST_POOL_ROWS = 50_000
"""Rows of a pool that are compared with the items, drawn evenly from all."""
NGRAM, ALIKE = 13, 0.8
"""What counts as giving an item away: so many words in a row, or prompts so alike."""
FOR = "proposed_for"
FROM = "proposed_from"


@dataclass(frozen=True)
class Sources:
    """Where rows may come from."""

    pool: str | None
    data: DataOptions
    """How the pool's rows are read: as training rows are."""
    asked: Asked | None
    """Who writes rows that the pool lacks."""
    items: Sequence[Sides]
    """Everything that is evaluated, both parts; rows that give one away are not proposed."""
    seed: int
    """What an even sample of a large pool is drawn from."""
    iteration: int
    """For which iteration rows are proposed; in each one a model is asked for other ones."""


@dataclass(frozen=True)
class Proposal:
    """Rows to add, as JSON values, each with the slice that it is for."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    """What was passed over and why, and what writing took, in sentences."""

    @property
    def by_slice(self) -> dict[str, int]:
        """How many rows are for which slice."""
        return dict(Counter(str(row.get(FOR, "no slice")) for row in self.rows))


def propose(
    explanation: Explanation,
    report: Report,
    sources: Sources,
    show: Show,
    *,
    budget: int,
    train: Path,
    folder: Path,
    embed: Embed | None = None,
) -> Proposal:
    """Rows for the slices that are worse, at most `budget`; `train` is what is learned from already."""
    wanted = quotas(explanation.worse, budget)
    known = {_said(json.loads(line)) for line in train.read_text(encoding="utf-8").splitlines()}
    rows: list[Mapping[str, Any]] = []
    notes: list[str] = []
    lacking = {quota.slice.name: quota.rows for quota in wanted}
    if sources.pool is not None and wanted:
        left_out: Counter[str] = Counter()
        rows, lacking = _from_pool(wanted, report, sources, known, left_out, embed, show)
        known.update(map(_said, rows))
        notes += [f"pool: {count:,} rows left out: {reason}" for reason, count in left_out.items() if count]
    if sources.asked is not None:
        for place, quota in enumerate(wanted):
            if number := lacking.get(quota.slice.name):
                output = folder / f"made-{sources.iteration}-{place}.jsonl"
                new, note = _written(quota.slice, number, explanation, sources, known, output, show)
                rows, notes = [*rows, *new], [*notes, f"{quota.slice.name}: {note}"]
    return Proposal(tuple(rows), tuple(notes))


def write_proposal(proposal: Proposal, path: Path) -> None:
    """The rows as a file that a person may read and shorten before saying yes."""
    durable.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in proposal.rows))


def read_proposal(path: Path) -> Proposal:
    """What stands in the file now. Raises Problems for lines that are no rows, which only a person can have written."""
    rows, wrong = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            wrong.append(f"line {number}: is no row")
    if wrong:
        raise Problems(str(path), wrong)
    return Proposal(tuple(rows))


def _from_pool(
    wanted: Sequence[Quota], report: Report, sources: Sources, known: set[str], left_out: Counter[str],
    embed: Embed | None, show: Show,
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:  # fmt: skip
    candidates = _candidates(sources, known, left_out, show)
    items = [item for item in report.items if not math.isnan(item.scores[report.metric])]
    places = {item.id: place for place, item in enumerate(items)}
    training = [TrainingRow(record.origin, one.asked, one.answer) for record, one in candidates]
    space = space_of([item.prompt for item in items], training, embed, seed=sources.seed)
    wrong, _ = failures([item.scores[report.metric] for item in items], higher_is_better=report.higher_is_better)
    failed = {item.id for item, is_wrong in zip(items, wrong, strict=True) if is_wrong}
    ranked = {}
    for quota in wanted:
        own, among = quota.slice.item_ids, _with_label(quota.slice, training)
        asked = [places[name] for name in own if among is not None or name in failed]
        order = space.ranked(asked, among)
        ranked[quota.slice.name] = [row for row, _, items in order if items or among is not None]
    picked, lacking = chosen(wanted, ranked)
    rows: list[Mapping[str, Any]] = [
        {**columns_for(candidates[row][0]), FOR: name, FROM: str(candidates[row][0].origin)} for row, name in picked
    ]
    return rows, lacking


def _with_label(one: Slice, training: Sequence[TrainingRow]) -> list[int] | None:
    """Of a label's slice the rows with that label; None where any row may do."""
    if one.training_rows is None:
        return None
    label = one.value.strip().casefold()
    return [place for place, row in enumerate(training) if row.answer.strip().casefold() == label]


def _candidates(
    sources: Sources, known: set[str], left_out: Counter[str], show: Show
) -> list[tuple[Record, TrainingRow]]:
    """The pool's rows that are new and give no item away; an even sample of very many."""
    data = sources.data
    records = read(
        str(sources.pool), (Conversation,), format=data.format, columns=data.columns, system=data.system,
        max_bad_share=data.max_bad_share, streams=True,
    )  # fmt: skip
    sample = Sample(MOST_POOL_ROWS, sources.seed)
    with show.progress("reading the pool") as on_progress:
        for number, record in enumerate(records, start=1):
            if _said(columns_for(record)) in known:
                left_out["learned from already"] += 1
            else:
                sample.take(example(record, {}))
            if number == len(records) or not number % 1000:
                on_progress(number, len(records))
    held = sample.finish()
    finder = LeakFinder(sources.items, ngram=NGRAM, threshold=ALIKE)
    for one in held:
        finder.take(sides(one.record))
    leaks = finder.finish()
    left_out["gives an evaluation item away"] += len(leaks)
    return [
        (one.record, TrainingRow(one.origin, one.question, one.answer))
        for place, one in enumerate(held)
        if place not in leaks
    ]


def _said(columns: Mapping[str, Any]) -> str:
    """What a row of messages says, to know it again."""
    messages = columns.get("messages") or ()
    return "\n".join(f"{message['role']}: {message['content']}".strip().casefold() for message in messages)


def _written(
    one: Slice, number: int, explanation: Explanation, sources: Sources, known: set[str], output: Path, show: Show
) -> tuple[list[Mapping[str, Any]], str]:
    """New rows like the slice's nearest ones, and how writing them went."""
    if not one.seeds or explanation.train is None:
        return [], "nothing was written, for there is no training row to write like"
    assert sources.asked is not None
    reading = Reading(format=explanation.reading["format"], columns=explanation.reading["columns"])
    inputs = replace(open_inputs([explanation.train], reading, progress=show.progress), only=frozenset(one.seeds))
    asked = output.with_name("items.jsonl")
    durable.write_text(asked, "".join(map(_item, sources.items)))
    options = Synthesize(
        rows=number, known_answers=one.has_rows_of_its_label, seed=sources.iteration, threshold=ALIKE,
        against=(str(asked),),
    )  # fmt: skip
    try:
        made = work(inputs, options, output, asked=sources.asked, force=True)
    except DataError as error:
        ended = f"; {sources.asked.ended}" if sources.asked.ended else ""
        return [], f"none of {number:,} rows was written: {error.remedy or error.found}{ended}"
    rows: list[Mapping[str, Any]] = []
    for line in output.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if _said(row) not in known:
            known.add(_said(row))
            rows.append({**row, FOR: one.name, FROM: str(row["augmented_from"])})
    reasons = {**made.dropped, "known already": made.rows_out - len(rows)}
    why = made.says[:1]  # what follows is about `etude data synthesize` itself
    return rows, "; ".join([f"{len(rows):,} of {number:,} rows written", *_left_out(reasons), *why])


def _item(one: Sides) -> str:
    return json.dumps({"prompt": one.prompt, "completion": one.answer}, ensure_ascii=False) + "\n"


def _left_out(reasons: Mapping[str, int]) -> list[str]:
    said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    return [f"left out: {said}"] if said else []
