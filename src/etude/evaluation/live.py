"""A task asked while a model trains: the same few items at each look, with the score's interval and sample answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.errors import ConfigError, Problems
from etude.evaluation.answers import Question, answer_questions
from etude.evaluation.harness import evaluate
from etude.evaluation.items import context_tokens
from etude.evaluation.metrics import metric_name
from etude.evaluation.metrics.base import Metric
from etude.evaluation.report import ItemResult, Report, is_share
from etude.training.live import Live

if TYPE_CHECKING:
    from etude.evaluation.tasks import Task
    from etude.models.loaded import LoadedModel, Subject
    from etude.sampling.groups import Asked

SHOWN_ANSWERS = 6
SHOWN_LETTERS = 2_000
"""Of a prompt, a reference and an answer in the diary."""


@dataclass(frozen=True)
class LiveTask:
    """What the loop scores weights by."""

    task: Task
    items: int
    batch_rows: int
    metric: Metric | None = None
    """Fitted to the questions, where they are not the task's own rows."""
    questions: Sequence[Question] = ()

    def score(self, policy: Subject) -> Live:
        """One look."""
        report = self._report(policy)
        low, high = report.intervals[report.metric]
        return Live(
            score=report.score if report.higher_is_better else -report.score,
            figures={"score": report.score, "score_low": low, "score_high": high},
            says=_says(report, low, high),
            details={
                "task": report.task,
                "metric": report.metric,
                "is_share": is_share(report.metric, higher_is_better=report.higher_is_better),
                "higher_is_better": report.higher_is_better,
                "items": len(report.items),
                "answers": [_answer(item, report.metric) for item in report.items[:SHOWN_ANSWERS]],
            },
        )

    def _report(self, policy: Subject) -> Report:
        if self.metric is None:
            return evaluate(policy, self.task, batch_rows=self.batch_rows, limit=self.items)
        with policy.use() as model:
            return answer_questions(
                policy.name, model, self.task, self.metric, self.questions, batch_rows=self.batch_rows
            )


def live_on_heldout(task: Task, asked: Sequence[Asked], model: LoadedModel, *, items: int, batch_rows: int) -> LiveTask:
    """The task's metric on answers to held-out rows, of which the first `items` are asked.

    Raises:
        ConfigError: a metric that needs more than a prompt and an answer.
        Problems: rows without an answer, with one that the metric cannot use, or too long for the model.
    """
    where = "evaluation.live"
    if not isinstance(task.metric, Metric) or task.metric.reads or task.metric.reads_documents:
        raise ConfigError(
            f"the metric {metric_name(task.metric)!r} needs more than a held-out row's prompt and answer",
            where=where, remedy="evaluation.live_rows: task asks the task file's own rows",
        )  # fmt: skip
    references = [one.reference or "" for one in asked]
    metric = task.metric.fitted(references)
    most = context_tokens(model)
    wrong = [f"{one.id}: has no answer" for one in asked if metric.needs_reference and not one.reference]
    wrong += [cause if at is None else f"{asked[at].id}: {cause}" for at, cause in metric.unusable(references)]
    wrong += [
        f"{one.id}: {len(one.tokens)} tokens and {task.max_new_tokens} for the answer do not fit the model's {most}"
        for one in asked[:items]
        if most is not None and len(one.tokens) + task.max_new_tokens > most
    ]
    if wrong:
        raise Problems(f"{where}: held-out rows as items of the task {task.name!r}", wrong[:SHOWN_ANSWERS])
    questions = [
        Question(one.id, one.text, one.tokens, reference)
        for one, reference in zip(asked[:items], references, strict=False)
    ]
    return LiveTask(task, len(questions), batch_rows, metric, questions)


def _says(report: Report, low: float, high: float) -> str:
    share = is_share(report.metric, higher_is_better=report.higher_is_better)
    value, *ends = (f"{100 * one:.1f}" if share else f"{one:.4g}" for one in (report.score, low, high))
    unit = " %" if share else ""
    return f"{report.metric} on {len(report.items)} items {value}{unit} [{ends[0]}, {ends[1]}]"


def _answer(item: ItemResult, metric: str) -> dict[str, Any]:
    texts = {"prompt": item.prompt, "reference": item.reference, "answer": item.answer}
    shown = {name: None if text is None else text[:SHOWN_LETTERS] for name, text in texts.items()}
    return {"id": item.id, **shown, "score": item.scores[metric]}
