"""Asks a model every item of a task and scores what it answers: the base, a tuned model, a run."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.batch import TokenRow
from etude.data.read import Records, read
from etude.data.render import Renderer
from etude.errors import DataError, EtudeError, Problems
from etude.evaluation.intervals import mean_interval
from etude.evaluation.metrics import Metric, Scored, Summary, metric_for
from etude.evaluation.report import ItemResult, Report
from etude.evaluation.tasks import Task, as_task
from etude.records import Conversation, Message, Preference, Prompt, Text
from etude.sampling.options import SampleOptions

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel, Subject
    from etude.records import Record

OnProgress = Callable[[int, int], None]
SHOWN_PROBLEMS = 20
NATS = "nats_per_token"


def evaluate(
    subject: Subject,
    task: Task | str | Path,
    *,
    batch_rows: int = 32,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Greedy answers to every item of a task, each with its scores (perplexity: how likely its texts are).

    `limit` takes the first so many items (as the task's own does; the smaller one counts), `on_progress` hears
    (done, total). Nothing is left out in silence: a row that cannot be used, a reference that the metric cannot use and
    a prompt that does not fit the model's context raise Problems, all of them at once.
    """
    task = as_task(task)
    if limit is not None and limit < 1:
        raise EtudeError(f"must be at least 1, got {limit}", where="limit")
    if batch_rows < 1:
        raise EtudeError(f"must be at least 1, got {batch_rows}", where="batch_rows")
    task = _limited(task, limit)
    with subject.use() as model:
        if task.metric == "perplexity":
            return _score_texts(subject.name, model, task, on_progress=on_progress)
        if task.metric == "preference":
            return _score_pairs(subject.name, model, task, on_progress=on_progress)
        return _answer_prompts(subject.name, model, task, batch_rows=batch_rows, on_progress=on_progress)


def _answer_prompts(
    name: str, model: LoadedModel, task: Task, *, batch_rows: int, on_progress: OnProgress | None
) -> Report:
    from etude.sampling.sampler import sample

    records, prompts, references, metric = _prompts(task)
    prompts, references = prompts[: task.limit], references[: task.limit]
    renderer = Renderer(model.tokenizer)
    rendered = [renderer.prompt(prompt.messages) for prompt in prompts]
    _refuse(task, _too_long(model, prompts, rendered, room=task.max_new_tokens))
    options = SampleOptions(max_new_tokens=task.max_new_tokens, batch_rows=batch_rows)
    began = time.perf_counter()
    answers = sample(model, rendered, options, end_ids=renderer.end_ids, on_progress=on_progress)
    seconds = time.perf_counter() - began
    scored = [metric.score(answer.text, reference) for answer, reference in zip(answers, references, strict=True)]
    items = tuple(
        ItemResult(
            id=_item_id(prompt, task),
            prompt=_shown(prompt.messages),
            reference=reference,
            answer=answer.text,
            scores=one.scores,
            details=one.details,
            prompt_tokens=len(tokens),
            answer_tokens=len(answer.tokens),
            finish=answer.finish,
            seconds=round(answer.seconds, 6),
            group=prompt.group,
        )
        for prompt, reference, tokens, answer, one in zip(prompts, references, rendered, answers, scored, strict=True)
    )
    summary = metric.summarize(scored, references)
    return Report(
        task=task.name,
        metric=metric.primary,
        subject=name,
        model_hash=model.base_hash,
        items=items,
        summary={**summary.scores, **_lengths(items)},
        data_sha256=records.sha256,
        template_sha256=renderer.template_sha256,
        settings=_settings(task),
        intervals=_intervals(scored, summary, [prompt.group for prompt in prompts]),
        tables=summary.tables,
        seconds=round(seconds, 6),
    )


def check_rows(task: Task) -> str:
    """Reads a task's rows as `evaluate` does, without a model, and gives their sha256: mistakes are found early."""
    if task.metric == "perplexity":
        return _read(task, (Conversation, Text)).sha256
    if task.metric == "preference":
        return _read(task, Preference).sha256
    return _prompts(task)[0].sha256


def _prompts(task: Task) -> tuple[Records, list[Prompt], list[str], Metric]:
    records = _read(task, Prompt)
    prompts = [record for record in records.rows if isinstance(record, Prompt)]
    references = _references(task, prompts)
    metric = metric_for(task, references)
    wrong = metric.problems(references)
    _refuse(task, [cause if place is None else f"{prompts[place].origin}: {cause}" for place, cause in wrong])
    return records, prompts, references, metric


def _score_texts(name: str, model: LoadedModel, task: Task, *, on_progress: OnProgress | None) -> Report:
    from etude.models.scoring import score_rows

    records = _read(task, (Conversation, Text))
    texts = [record for record in records.rows if isinstance(record, Conversation | Text)][: task.limit]
    renderer = Renderer(model.tokenizer)
    rows = [TokenRow(tokens=row.tokens, weights=row.weights) for row in map(renderer.row, texts)]
    weights = [sum(row.weights[1:]) for row in rows]
    empty = [
        f"{text.origin}: nothing in it is learned" for text, weight in zip(texts, weights, strict=True) if not weight
    ]
    _refuse(task, empty + _too_long(model, texts, [row.tokens for row in rows], room=0))
    found = score_rows(model, rows, on_progress=on_progress)
    nats = [-_weighted_sum(row, logprobs.tolist()) for row, logprobs in zip(rows, found, strict=True)]
    _refuse(
        task,
        [
            f"{text.origin}: scored {-total:g}"
            for text, total in zip(texts, nats, strict=True)
            if not math.isfinite(total)
        ],
    )
    items = tuple(
        ItemResult(
            id=_item_id(text, task),
            prompt=text.text if isinstance(text, Text) else _shown(text.messages),
            reference=None,
            answer=None,
            scores={NATS: total / weight},
            weight=weight,
            prompt_tokens=len(row.tokens),
            group=text.group,
        )
        for text, row, total, weight in zip(texts, rows, nats, weights, strict=True)
    )
    per_token = sum(nats) / sum(weights)
    low, high = mean_interval([item.scores[NATS] for item in items], weights, groups=[text.group for text in texts])
    return Report(
        task=task.name,
        metric=NATS,
        subject=name,
        model_hash=model.base_hash,
        items=items,
        summary={NATS: per_token, "perplexity": math.exp(per_token), "num_tokens": sum(weights)},
        data_sha256=records.sha256,
        higher_is_better=False,
        template_sha256=renderer.template_sha256,
        settings=_settings(task),
        intervals={NATS: (low, high), "perplexity": (math.exp(low), math.exp(high))},
    )


def _score_pairs(name: str, model: LoadedModel, task: Task, *, on_progress: OnProgress | None) -> Report:
    from etude.evaluation.preferences import PREFERENCE, pair_summary, scored_pairs

    records = _read(task, Preference)
    pairs = [record for record in records.rows if isinstance(record, Preference)][: task.limit]
    renderer = Renderer(model.tokenizer)
    rendered = [renderer.rows(pair) for pair in pairs]
    _refuse(task, _too_long(model, pairs, [max((a.tokens, b.tokens), key=len) for a, b in rendered], room=0))
    scored = scored_pairs(model, [(a, b) for a, b in rendered], on_progress=on_progress)
    items = tuple(
        ItemResult(
            id=_item_id(pair, task),
            prompt=_shown(pair.prompt),
            reference=_shown(pair.chosen),
            answer=_shown(pair.rejected),
            scores=one.scores,
            details=one.details,
            prompt_tokens=chosen.answer_start,
            group=pair.group,
        )
        for pair, (chosen, _), one in zip(pairs, rendered, scored, strict=True)
    )
    summary = pair_summary(scored, has_rewards=model.value_head is not None)
    return Report(
        task=task.name,
        metric=PREFERENCE,
        subject=name,
        model_hash=model.base_hash,
        items=items,
        summary=summary.scores,
        data_sha256=records.sha256,
        template_sha256=renderer.template_sha256,
        settings=_settings(task),
        intervals=_intervals(scored, summary, [pair.group for pair in pairs]),
        tables=summary.tables,
    )


def _weighted_sum(row: TokenRow, logprobs: Sequence[float]) -> float:
    """Log-probability of the row's learned tokens; `logprobs[i]` belongs to token i + 1."""
    return math.fsum(weight * value for weight, value in zip(row.weights[1:], logprobs, strict=True) if weight)


def _read(task: Task, kind: type | tuple[type, ...]) -> Records:
    """The task's rows; with rows left out it would be another task, so one bad row is too many."""
    records = read(task.data, kind, format=task.format, columns=task.columns, system=task.system, max_bad_share=1.0)
    if records.bad:
        _refuse(task, [*map(str, records.bad), "a task is measured on all of its rows: mend these or take them out"])
    if not records.rows:
        raise DataError("holds no rows", where=task.data, remedy=f"the task {task.name!r} needs at least one")
    return records


def _references(task: Task, prompts: Sequence[Prompt]) -> list[str]:
    if task.metric == "regex" and not re.compile(task.pattern or "").groups:
        return [prompt.reference or "" for prompt in prompts]
    _refuse(task, [f"{prompt.origin}: has no reference answer" for prompt in prompts if prompt.reference is None])
    return [prompt.reference or "" for prompt in prompts]


def _refuse(task: Task, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        shown = [*problems[:SHOWN_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])]
        raise Problems(f"task {task.name!r} ({task.data})", shown)


def _too_long(model: LoadedModel, records: Sequence[Record], rows: Sequence[Sized], *, room: int) -> list[str]:
    """A line for each row that, with `room` more tokens, does not fit the model's context."""
    most = _context_tokens(model)
    if most is None:
        return []
    remedy = "lower max_new_tokens or shorten the prompt" if room else "split the text"
    plus = f" and {room} for the answer" if room else ""
    return [
        f"{record.origin}: {len(row)} tokens{plus} do not fit the model's context of {most}; {remedy}"
        for record, row in zip(records, rows, strict=True)
        if len(row) + room > most
    ]


def _context_tokens(model: LoadedModel) -> int | None:
    """Longest sequence that the model was made for; None where its config sets no limit."""
    try:
        return int(model.module.config.get_text_config().max_position_embeddings)
    except AttributeError:
        return None


def _item_id(record: Record, task: Task) -> str:
    """File and line, the file named from the task's data on, so that reports of a moved data set still pair."""
    path, root = Path(record.origin.path), Path(task.data)
    if path == root:
        return f"{path.name}:{record.origin.line}"
    for above in (root, Path(root.name)):
        if path.is_relative_to(above):
            path = path.relative_to(above)
    return f"{path.as_posix()}:{record.origin.line}"


def _shown(messages: Sequence[Message]) -> str:
    """The messages as people read them: a single one is its text, several carry their role."""
    if len(messages) == 1:
        return messages[0].text
    return "\n".join(f"{message.role}: {message.text}" for message in messages)


def asked(task: Task, *, limit: int | None = None) -> dict[str, Any]:
    """The `settings` of the report that `evaluate` would make."""
    return _settings(_limited(task, limit))


def _limited(task: Task, limit: int | None) -> Task:
    return dataclasses.replace(
        task, limit=min((most for most in (task.limit, limit) if most is not None), default=None)
    )


def _settings(task: Task) -> dict[str, Any]:
    """What was asked and how, JSON-able, without the name and the data's place."""
    settings = {item.name: getattr(task, item.name) for item in dataclasses.fields(task)}
    del settings["name"], settings["data"]
    return {name: _plain(value) for name, value in settings.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _lengths(items: Sequence[ItemResult]) -> dict[str, float]:
    answers, prompts = [item.answer_tokens for item in items], [item.prompt_tokens for item in items]
    return {
        "stop_rate": sum(item.finish == "stop" for item in items) / len(items),
        "mean_answer_tokens": sum(answers) / len(items),
        "longest_answer_tokens": float(max(answers)),
        "mean_prompt_tokens": sum(prompts) / len(items),
        "longest_prompt_tokens": float(max(prompts)),
    }


def _intervals(
    scored: Sequence[Scored], summary: Summary, groups: Sequence[str | None]
) -> dict[str, tuple[float, float]]:
    """95 % intervals of every mean of item scores, and those that the metric has of its own."""
    names = scored[0].scores
    means = {name: mean_interval([item.scores[name] for item in scored], groups=groups) for name in names}
    return {**means, **summary.intervals}
