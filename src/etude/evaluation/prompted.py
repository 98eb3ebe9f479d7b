"""A task whose prompts are changed before they are asked (examples, passages), of any model that answers messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etude.data.render import Renderer
from etude.errors import ModelError
from etude.evaluation.answers import Told, judged, question, usable_prompts
from etude.evaluation.items import context_tokens, some
from etude.evaluation.metrics.base import Metric
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task
from etude.records import Message, Prompt
from etude.sampling.options import SampleOptions

if TYPE_CHECKING:
    from etude.models.loaded import Subject

Messages = tuple[Message, ...]
Ways = Sequence[Messages]
"""One question in several wordings, the longest first: the first one that fits the model's context is asked."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Questions:
    """A task's prompts before they are worded, and all that their answers are held against."""

    task: Task
    prompts: Sequence[Prompt]
    references: Sequence[str]
    metric: Metric
    data_sha256: str


def questions_of(task: Task) -> Questions:
    """Reads the task's rows. Raises Problems for rows and references that cannot be used."""
    records, prompts, references, metric = usable_prompts(task)
    return Questions(task, some(prompts, task.limit), some(references, task.limit), metric, records.sha256)


def report_of(asked: Questions, told: Sequence[Told], name: str, *, seconds: float) -> Report:
    """The report on the answers, under that name; `seconds` is what all of them took."""
    questions = [
        question(prompt, asked.task, reference)
        for prompt, reference in zip(asked.prompts, asked.references, strict=True)
    ]
    report = judged(name, asked.task, asked.metric, questions, told, seconds=seconds)
    return replace(report, data_sha256=asked.data_sha256)


def local_answers(
    subject: Subject,
    questions: Sequence[Ways],
    *,
    max_new_tokens: int,
    batch_rows: int,
    on_progress: OnProgress | None = None,
) -> list[Told]:
    """Greedy answers of a model on this machine; of each question the first wording that fits its context is asked.

    Raises:
        ModelError: a question that does not fit in any wording.
    """
    from etude.sampling.sampler import sample

    with subject.use() as model:
        renderer = Renderer(model.tokenizer)
        most = context_tokens(model)
        room = None if most is None else most - max_new_tokens
        rendered = [_first_that_fits(renderer, ways, room) for ways in questions]
        options = SampleOptions(max_new_tokens=max_new_tokens, batch_rows=batch_rows)
        told = sample(model, rendered, options, end_ids=renderer.end_ids, on_progress=on_progress)
    return [
        Told(one.text, one.finish, len(tokens), len(one.tokens), one.seconds)
        for one, tokens in zip(told, rendered, strict=True)
    ]


def _first_that_fits(renderer: Renderer, ways: Ways, room: int | None) -> Sequence[int]:
    for messages in ways:
        tokens = renderer.prompt(messages)
        if room is None or len(tokens) <= room:
            return tokens
    raise ModelError(f"a prompt of {len(tokens)} tokens does not fit the model's context of {room} beside its answer")
