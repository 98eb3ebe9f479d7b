"""Greedy answers to every prompt of a task, judged by its metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etude.data.read import Records
from etude.data.reasoning import without_reasoning
from etude.data.render import Renderer
from etude.evaluation.intervals import mean_interval
from etude.evaluation.items import item_id, prompts_of, refuse, settings_of, shown, some, too_long
from etude.evaluation.metrics.base import Answered, Metric, Scored, Summary, common_scores
from etude.evaluation.report import ItemResult, Report
from etude.records import Document, Prompt
from etude.sampling.options import SampleOptions

if TYPE_CHECKING:
    from etude.evaluation.tasks import Task
    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as the model gets it, and what its answer is held against."""

    id: str
    text: str
    """The prompt as people read it."""
    tokens: Sequence[int]
    reference: str
    group: str | None = None
    documents: tuple[Document, ...] = ()
    """What the prompt gives to answer from."""


def question(prompt: Prompt, task: Task, reference: str, tokens: Sequence[int] = ()) -> Question:
    """A row of the task, as it is asked."""
    documents = () if prompt.context is None else prompt.context.documents
    return Question(item_id(prompt, task), shown(prompt.messages), tokens, reference, prompt.group, documents)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and what it took."""

    text: str
    finish: str
    prompt_tokens: int
    answer_tokens: int
    seconds: float | None = None


def answer_prompts(
    name: str, model: LoadedModel, task: Task, *, batch_rows: int, on_progress: OnProgress | None
) -> Report:
    """The report of a task whose metric judges answers."""
    records, prompts, references, metric = usable_prompts(task)
    prompts, references = some(prompts, task.limit), some(references, task.limit)
    renderer = Renderer(model.tokenizer)
    rendered = [renderer.prompt(prompt.messages, prompt.tools) for prompt in prompts]
    refuse(task, too_long(model, prompts, rendered, room=task.max_new_tokens))
    questions = [
        question(prompt, task, reference, tokens)
        for prompt, tokens, reference in zip(prompts, rendered, references, strict=True)
    ]
    report = answer_questions(name, model, task, metric, questions, batch_rows=batch_rows, on_progress=on_progress)
    return replace(report, data_sha256=records.sha256, template_sha256=renderer.template_sha256)


def answer_questions(
    name: str,
    model: LoadedModel,
    task: Task,
    metric: Metric,
    questions: Sequence[Question],
    *,
    batch_rows: int,
    on_progress: OnProgress | None = None,
) -> Report:
    """The greedy answers to these questions with their scores; the report does not say which rows they come from."""
    from etude.sampling.sampler import sample

    options = SampleOptions(max_new_tokens=task.max_new_tokens, batch_rows=batch_rows)
    prompts = [one.tokens for one in questions]
    started = time.perf_counter()
    answers = sample(model, prompts, options, end_ids=Renderer(model.tokenizer).end_ids, on_progress=on_progress)
    seconds = time.perf_counter() - started
    told = [
        Told(answer.text, answer.finish, len(tokens), len(answer.tokens), answer.seconds)
        for answer, tokens in zip(answers, prompts, strict=True)
    ]
    return replace(judged(name, task, metric, questions, told, seconds=seconds), model_hash=model.base_hash)


def judged(
    name: str, task: Task, metric: Metric, questions: Sequence[Question], told: Sequence[Told], *, seconds: float
) -> Report:
    """The report on answers that anybody gave; `seconds` is what all of them took."""
    scored = metric.scores(
        [
            Answered(one.text, without_reasoning(answer.text), one.reference, one.documents)
            for one, answer in zip(questions, told, strict=True)
        ]
    )
    items = tuple(
        ItemResult(
            id=asked.id,
            prompt=asked.text,
            reference=asked.reference,
            answer=answer.text,
            scores=one.scores,
            details=one.details,
            prompt_tokens=answer.prompt_tokens,
            answer_tokens=answer.answer_tokens,
            finish=answer.finish,
            seconds=None if answer.seconds is None else round(answer.seconds, 6),
            group=asked.group,
        )
        for asked, answer, one in zip(questions, told, scored, strict=True)
    )
    summary = metric.summarize(scored, [one.reference for one in questions])
    return Report(
        task=task.name,
        metric=metric.primary,
        subject=name,
        model_hash="",
        items=items,
        summary={**summary.scores, **_lengths(items)},
        data_sha256="",
        settings=settings_of(task),
        intervals=score_intervals(scored, summary, [one.group for one in questions]),
        tables=summary.tables,
        seconds=round(seconds, 6),
    )


def usable_prompts(task: Task) -> tuple[Records, list[Prompt], list[str], Metric]:
    """All prompts of the task with their references, and its metric fitted to them.

    Raises:
        Problems: rows that cannot be used, and references that are missing or that the metric cannot use.
    """
    assert isinstance(task.metric, Metric)
    records, prompts, references = prompts_of(task)
    held = [
        (prompt, reference)
        for prompt, reference in zip(prompts, references, strict=True)
        if prompt.context is None or not task.metric.reads_documents
    ]
    if task.metric.needs_reference and not task.metric.reads:
        refuse(task, [f"{prompt.origin}: has no reference answer" for prompt, _ in held if prompt.reference is None])
    metric = task.metric.fitted(references)
    wrong = metric.unusable([reference for _, reference in held])
    refuse(task, [cause if place is None else f"{held[place][0].origin}: {cause}" for place, cause in wrong])
    return records, prompts, references, metric


def _lengths(items: Sequence[ItemResult]) -> dict[str, float]:
    answers, prompts = [item.answer_tokens for item in items], [item.prompt_tokens for item in items]
    return {
        "stop_rate": sum(item.finish == "stop" for item in items) / len(items),
        "mean_answer_tokens": sum(answers) / len(items),
        "longest_answer_tokens": float(max(answers)),
        "mean_prompt_tokens": sum(prompts) / len(items),
        "longest_prompt_tokens": float(max(prompts)),
    }


def score_intervals(
    scored: Sequence[Scored], summary: Summary, groups: Sequence[str | None]
) -> dict[str, tuple[float, float]]:
    """95 % intervals of every mean of item scores, and those that the metric has of its own."""
    names = common_scores([item.scores for item in scored])
    means = {name: mean_interval([item.scores[name] for item in scored], groups=groups) for name in names}
    return {**means, **summary.intervals}
