"""Multiple choice: how likely a model finds each choice after the prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.batch import TokenRow
from etude.data.render import Renderer
from etude.evaluation.intervals import mean_interval
from etude.evaluation.items import item_id, prompts_of, refuse, settings_of, shown, some, too_long
from etude.evaluation.metrics.choice import By, Choice
from etude.evaluation.report import ItemResult, Report
from etude.records import Prompt

if TYPE_CHECKING:
    from etude.data.read import Records
    from etude.evaluation.tasks import Task
    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]
PRIMARY = "right_choice"
TOKENS_PER_PASS = 8192


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with its choices."""

    prompt: Prompt
    choices: tuple[str, ...]
    right: int


def questions_of(task: Task) -> tuple[Records, list[Question]]:
    """The task's rows. Raises Problems for rows whose choices or answer cannot be used."""
    records, prompts, references = prompts_of(task)
    found, wrong = [], []
    for prompt, reference in zip(prompts, references, strict=True):
        held = json.loads(reference)
        cause = _wrong(held)
        if cause is None:
            choices = tuple(map(str, held["choices"]))
            found.append(Question(prompt, choices, _index(held["answer"], choices)))
        else:
            wrong.append(f"{prompt.origin}: {cause}")
    refuse(task, wrong)
    return records, found


def _wrong(held: Mapping[str, Any]) -> str | None:
    choices, answer = held["choices"], held["answer"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(str(one).strip() for one in choices):
        return "choices must be a list of at least two texts"
    if _index(answer, tuple(map(str, choices))) < 0:
        return f"the answer {answer!r} is neither a choice nor the index of one (0 to {len(choices) - 1})"
    return None


def _index(answer: object, choices: Sequence[str]) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(choices) else -1
    return choices.index(str(answer)) if str(answer) in choices else -1


def score_choices(name: str, model: LoadedModel, task: Task, *, on_progress: OnProgress | None) -> Report:
    """The report of a multiple-choice task; `answer` is the choice that the model finds likeliest."""
    from etude.models.scoring import score_rows

    metric = task.metric
    assert isinstance(metric, Choice)
    records, questions = questions_of(task)
    questions = some(questions, task.limit)
    renderer = Renderer(model.tokenizer)
    rendered = [choice_rows(renderer, one.prompt, one.choices, chat=metric.chat) for one in questions]
    longest = [max((row.tokens for row in rows), key=len) for rows in rendered]
    refuse(task, too_long(model, [one.prompt for one in questions], longest, room=0))
    every = [row for rows in rendered for row in rows]
    scored = iter(score_rows(model, every, tokens_per_batch=TOKENS_PER_PASS, on_progress=on_progress))
    items = [
        _item(task, question, rows, [float(next(scored)[-int(sum(row.weights)) :].sum()) for row in rows], metric.by)
        for question, rows in zip(questions, rendered, strict=True)
    ]
    return Report(
        task=task.name,
        metric=PRIMARY,
        subject=name,
        model_hash=model.base_hash,
        items=tuple(items),
        summary={key: sum(item.scores[key] for item in items) / len(items) for key in items[0].scores},
        data_sha256=records.sha256,
        template_sha256=renderer.template_sha256 if metric.chat else "",
        settings=settings_of(task),
        intervals={
            key: mean_interval([item.scores[key] for item in items], groups=[item.group for item in items])
            for key in items[0].scores
        },
    )


def choice_rows(renderer: Renderer, prompt: Prompt, choices: Sequence[str], *, chat: bool) -> list[TokenRow]:
    """A row for each choice, whose weights are 1 on the choice's tokens."""
    if chat:
        stem = renderer.prompt(prompt.messages, prompt.tools)
        return [_row([*stem, *tail], len(tail)) for tail in renderer.plain.encode(list(choices))]
    context = shown(prompt.messages).rstrip()
    stem = renderer.text(context)
    # As lm-evaluation-harness splits: what the whole text has beyond the tokens of its beginning is the choice.
    return [_row(whole, len(whole) - len(stem)) for whole in (renderer.text(f"{context} {one}") for one in choices)]


def _row(tokens: Sequence[int], num_chosen: int) -> TokenRow:
    chosen = max(num_chosen, 1)
    return TokenRow(tuple(tokens), (*[0.0] * (len(tokens) - chosen), *[1.0] * chosen))


def _item(task: Task, question: Question, rows: Sequence[TokenRow], nats: Sequence[float], by: By) -> ItemResult:
    sizes: Mapping[str, list[float]] = {
        "characters": [float(len(choice)) for choice in question.choices],
        "tokens": [sum(row.weights) for row in rows],
        "total": [1.0] * len(rows),
    }
    chosen = {name: _likeliest(nats, counts) for name, counts in sizes.items()}
    return ItemResult(
        id=item_id(question.prompt, task),
        prompt=shown(question.prompt.messages),
        reference=question.choices[question.right],
        answer=question.choices[chosen[by]],
        scores={PRIMARY: float(chosen[by] == question.right), "by_total": float(chosen["total"] == question.right)},
        details={"nats": [round(one, 4) for one in nats], "choices": list(question.choices), "right": question.right},
        prompt_tokens=len(rows[0].tokens) - int(sum(rows[0].weights)),
        group=question.prompt.group,
    )


def _likeliest(nats: Sequence[float], sizes: Sequence[float]) -> int:
    each = [value / size for value, size in zip(nats, sizes, strict=True)]
    return each.index(max(each))
