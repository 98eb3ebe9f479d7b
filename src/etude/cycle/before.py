"""What is looked at between preparing the rows and training on them: labels the wrong way round, ends never learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from etude.batch import Sample, TokenRow
from etude.config import RunFile
from etude.cycle.show import Show
from etude.data.prepare import Prepared, row_values
from etude.data.read import read
from etude.data.render import Renderer
from etude.data.swapped import check_judgements, check_labels
from etude.errors import DataError
from etude.evaluation.tasks import Task
from etude.models.load import load_tokenizer
from etude.records import Judged, Preference
from etude.sampling.rewards.code import confinement

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENDS_LOOKED_AT = 1_000
"""Rows, evenly spread."""
CHECKS = {
    Preference: (
        check_labels,
        "chosen and rejected are swapped",
        "map the columns the other way round with data.columns: {chosen: rejected, rejected: chosen}",
    ),
    Judged: (check_judgements, "good and bad are swapped", "turn the labels round: true, or above 0, means good"),
}
"""For records with labels: what looks at them, what it finds, and what to do then."""


def look_before(
    run_file: RunFile, prepared: Prepared, tasks: Sequence[Task], show: Show, *, resumed: bool
) -> list[str]:
    """Says what it finds; what should stand in the report is returned. A resumed run was looked at before.

    Raises:
        DataError: preference labels point the other way than trusted ones; no answer's end is learned.
    """
    for note in prepared.summary.notes:
        show.say(f"note: {note}")
    if resumed:
        return []
    tokenizer = load_tokenizer(run_file.model.name, revision=run_file.model.revision)
    if any(reward.kind == "code" for reward in run_file.rollouts.rewards):
        show.say(f"note: {confinement()}")
    if not run_file.objective.online:
        check_ends(prepared.samples, Renderer(tokenizer).end_ids, run_file.data.train)
    kind = next((kind for kind in CHECKS if kind in run_file.objective.learns_from), None)
    if kind is None:
        return []
    check, are_swapped, remedy = CHECKS[kind]
    source, trusted = _trusted(run_file, tasks, tokenizer, kind)
    found = check(prepared.samples, trusted)
    if found is None:
        return []
    show.say(f"labels: {found}")
    if found.refused:
        raise DataError(
            f"{are_swapped} in {found.swapped} of the {found.what}, by {source} ({len(trusted)} {found.what})",
            where=run_file.data.train,
            remedy=remedy,
        )
    if found.warned:
        if kind is Judged:
            return [f"labels: {found.swapped} are swapped, by {source}; clean them"]
        return [f"labels: {found.swapped} are swapped, by {source}; clean them, or see objective.label_smoothing"]
    return []


def _trusted(
    run_file: RunFile, tasks: Sequence[Task], tokenizer: PreTrainedTokenizerBase, kind: type[Preference] | type[Judged]
) -> tuple[str, list[Sample]]:
    """Where trusted labels come from, and what has them: the user's, else pairs of the tasks that measure
    preferences."""
    name, sources = "data.trusted_pairs", [(run_file.data.trusted_pairs, run_file.data.format)]
    if run_file.data.trusted_pairs is None and kind is Judged:
        return name, []
    if run_file.data.trusted_pairs is None:
        measured = [task for task in tasks if task.metric.asks == "pairs" and not task.columns]
        sources = [(task.data, task.format) for task in measured]
        name = ", ".join(f"the task {task.name}" for task in measured)
    renderer = Renderer(tokenizer)
    found = []
    for source, form in sources:
        for record in read(str(source), (kind,), format=form):
            rows = zip(renderer.rows(record), row_values(record), strict=True)
            found.append(Sample(str(record.origin), tuple(TokenRow(row.tokens, row.weights, at) for row, at in rows)))
    return name, found


def check_ends(samples: Sequence[Sample], end_ids: frozenset[int], where: str) -> None:
    """A model learns to stop only from ends that are learned: a mask over padding that is also the end hides them.

    Raises:
        DataError: none of the rows that were looked at teaches an end.
    """
    step = max(1, len(samples) // ENDS_LOOKED_AT)
    ends = np.asarray(sorted(end_ids), dtype=np.int64)
    learns = False
    for at in range(0, len(samples), step):
        for row in samples[at].rows:
            learned = np.asarray(row.tokens, dtype=np.int64)[np.asarray(row.weights) > 0]
            learns = learns or bool(len(learned))
            if np.isin(learned, ends).any():
                return
    if learns:
        raise DataError(
            "in none of its rows is an answer's end learned, so the model could not learn to stop",
            where=where,
            remedy="check the tokenizer's end-of-text token, and that the chat template closes each answer",
        )
