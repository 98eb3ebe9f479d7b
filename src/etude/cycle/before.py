"""What is looked at between preparing the rows and training on them: labels the wrong way round, ends never learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from etude.batch import Sample, TokenRow
from etude.config import RunFile
from etude.cycle.show import Show
from etude.data.prepare import Prepared
from etude.data.read import read
from etude.data.render import Renderer
from etude.data.swapped import check_labels
from etude.errors import DataError
from etude.evaluation.tasks import Task
from etude.models.load import load_tokenizer
from etude.records import Preference
from etude.sampling.rewards.code import confinement

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENDS_LOOKED_AT = 1_000
"""Rows, evenly spread."""


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
    if Preference not in run_file.objective.learns_from:
        return []
    source, trusted = _trusted(run_file, tasks, tokenizer)
    found = check_labels(prepared.samples, trusted)
    if found is None:
        return []
    show.say(f"labels: {found}")
    if found.refused:
        raise DataError(
            f"chosen and rejected are swapped in {found.swapped} of the pairs, by {source} ({len(trusted)} pairs)",
            where=run_file.data.train,
            remedy="map the columns the other way round with data.columns: {chosen: rejected, rejected: chosen}",
        )
    if found.warned:
        return [f"labels: {found.swapped} are swapped, by {source}; clean them, or see objective.label_smoothing"]
    return []


def _trusted(run_file: RunFile, tasks: Sequence[Task], tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[Sample]]:
    """Where trusted pairs come from, and they: the user's, else those of the tasks that measure preferences."""
    name, sources = "data.trusted_pairs", [(run_file.data.trusted_pairs, run_file.data.format)]
    if run_file.data.trusted_pairs is None:
        measured = [task for task in tasks if task.metric.asks == "pairs" and not task.columns]
        sources = [(task.data, task.format) for task in measured]
        name = ", ".join(f"the task {task.name}" for task in measured)
    renderer = Renderer(tokenizer)
    found = []
    for source, form in sources:
        for record in read(str(source), (Preference,), format=form):
            rows = renderer.rows(record)
            found.append(Sample(str(record.origin), tuple(TokenRow(row.tokens, row.weights) for row in rows)))
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
