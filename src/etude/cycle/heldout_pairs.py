"""How often a model puts the better answer first on the pairs that its run held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from etude import durable
from etude.batch import Sample, TokenRow
from etude.config import RunFile
from etude.cycle.measure import Measuring, measure
from etude.data.prepare import Prepared
from etude.errors import EtudeError
from etude.evaluation.preferences import PREFERENCE, pair_summary, scored_pairs
from etude.evaluation.report import ItemResult, Report
from etude.evaluation.tasks import Task
from etude.models.loaded import LoadedModel, Subject
from etude.records import Preference
from etude.runs.directory import RunDirectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELDOUT_PAIRS = "heldout_pairs"
MOST_PAIRS = 400


def pairs_to_measure(run_file: RunFile, prepared: Prepared, tasks: Sequence[Task]) -> Sequence[Sample]:
    """The held-out pairs of a run whose tasks measure no preferences themselves."""
    if Preference not in run_file.objective.learns_from or any(task.metric.asks == "pairs" for task in tasks):
        return ()
    return prepared.heldout[:MOST_PAIRS]


def measured_with_pairs(
    measuring: Measuring,
    subject: Subject,
    tasks: Mapping[str, tuple[Task, str]],
    pairs: Sequence[Sample],
    *,
    base: bool,
) -> dict[str, Report]:
    """Reports on the tasks, and on the pairs that the run held out."""
    reports = measure(measuring, subject, tasks, base=base)
    if pairs:
        known = base and measuring.resume
        reports[HELDOUT_PAIRS] = measured_pairs(pairs, measuring.run, subject, base=base, known=known)
    return reports


def measured_pairs(
    pairs: Sequence[Sample], run: RunDirectory, subject: Subject, *, base: bool, known: bool = False
) -> Report:
    """A report like any task's; with `known`, the one that a resumed run has already."""
    path = run.report(HELDOUT_PAIRS, base=base)
    if known and path.exists():
        try:
            return Report.load(path)
        except EtudeError:
            pass  # torn by a kill: made again
    with subject.use() as model:
        report = _report(pairs, model, subject.name)
    durable.make_directory(run.reports, exist_ok=True)
    report.save(path)
    return report


def _report(pairs: Sequence[Sample], model: LoadedModel, name: str) -> Report:
    scored = scored_pairs(model, [(sample.rows[0], sample.rows[1]) for sample in pairs])
    items = []
    for sample, one in zip(pairs, scored, strict=True):
        (prompt, chosen), (_, rejected) = (_texts(row, model.tokenizer) for row in sample.rows[:2])
        items.append(
            ItemResult(
                id=sample.id,
                prompt=prompt,
                reference=chosen,
                answer=rejected,
                scores=one.scores,
                details=one.details,
                weight=sample.weight,
                prompt_tokens=_answer_start(sample.rows[0]),
            )
        )
    summary = pair_summary(scored, [sample.weight for sample in pairs], has_rewards=model.value_head is not None)
    rows = "\n".join(f"{sample.id} {sample.rows[0].tokens} {sample.rows[1].tokens}" for sample in pairs)
    return Report(
        task=HELDOUT_PAIRS,
        metric=PREFERENCE,
        subject=name,
        model_hash=model.base_hash,
        items=tuple(items),
        summary=summary.scores,
        data_sha256=sha256(rows.encode()).hexdigest(),
        intervals=summary.intervals,
        tables=summary.tables,
    )


def _answer_start(row: TokenRow) -> int:
    return next((place for place, weight in enumerate(row.weights) if weight), len(row.tokens))


def _texts(row: TokenRow, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    start = _answer_start(row)
    asked, answer = (
        tokenizer.decode(list(part), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for part in (row.tokens[:start], row.tokens[start:])
    )
    return str(asked), str(answer)
