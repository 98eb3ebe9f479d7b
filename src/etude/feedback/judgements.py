"""What one person said of answers to a prompt, and the two things it can be seen as: choices and grades."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import Any, Literal

from etude.data.write import message_columns
from etude.records import Message, Origin

Kind = Literal["choice", "ranking", "rating", "thumb", "edit"]
Messages = tuple[Message, ...]
UNNAMED = "(unnamed)"
"""Who judged where the file does not say."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One act: answers to a prompt, each with a grade."""

    kind: Kind
    prompt: Messages
    answers: tuple[Messages, ...]
    """In the order in which they were shown, where `order_known`."""
    grades: tuple[float, ...]
    """Higher is better, equal is a tie."""
    origin: Origin
    annotator: str = UNNAMED
    margin: float | None = None
    """Of a choice, where the file says by how much."""
    seconds: float | None = None
    order_known: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One person's view of two answers, in the order of their keys: the same for everybody who saw them."""

    prompt: Messages
    first: Messages
    second: Messages
    key: str
    """The same for the same prompt and answers."""
    prompt_key: str
    vote: int
    """1: the first is better, -1: the second, 0: neither."""
    annotator: str
    origin: Origin
    margin: float
    """By how much, where that is known: said in the file, or from the distance of two ratings; else 0."""
    seen_first: int = 0
    """1: the first answer was shown first, -1: the second was, 0: not known."""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """One person's grade of one answer."""

    prompt: Messages
    answer: Messages
    key: str
    prompt_key: str
    grade: float
    annotator: str
    origin: Origin
    is_thumb: bool
    seconds: float | None = None


def key_of(*parts: Messages) -> str:
    """A short hash of what was said, the same in every file."""
    said = [[[message.role, message.text] for message in part] for part in parts]
    return blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


def as_plain(messages: Messages, role: str = "assistant") -> str | list[dict[str, Any]]:
    """Messages as a row's column holds them: one of the expected role as its text, others as a list."""
    if len(messages) == 1 and messages[0] == Message(role, messages[0].text):
        return messages[0].text
    return [message_columns(message) for message in messages]


def choices(judgements: Iterable[Judgement], *, rating_range: float = 1.0) -> list[Choice]:
    """Every two answers that one person put in an order, ties included, in the order of the judgements.

    Grades of single answers are compared where one person graded several answers to the same prompt; the margin of two
    ratings is their distance over `rating_range`.
    """
    made: list[Choice] = []
    for judgement in _gathered(judgements):
        prompt_key = key_of(judgement.prompt)
        keyed = [(key_of(answer), answer) for answer in judgement.answers]
        for one, other in combinations(range(len(keyed)), 2):
            if keyed[one][0] != keyed[other][0]:
                made.append(_choice(judgement, prompt_key, keyed, (one, other), rating_range))
    return made


def grades(judgements: Iterable[Judgement]) -> list[Grade]:
    """Every rating and thumb."""
    return [
        Grade(
            one.prompt, answer, key_of(one.prompt, answer), key_of(one.prompt), grade, one.annotator, one.origin,
            one.kind == "thumb", None if one.seconds is None else one.seconds / len(one.answers),
        )
        for one in judgements
        if one.kind in ("rating", "thumb")
        for answer, grade in zip(one.answers, one.grades, strict=True)
    ]  # fmt: skip


def _choice(
    judgement: Judgement,
    prompt_key: str,
    keyed: Sequence[tuple[str, Messages]],
    places: tuple[int, int],
    rating_range: float,
) -> Choice:
    """Two of the answers, the one with the smaller key first."""
    one, other = places
    seen = 1 if judgement.order_known else 0
    if keyed[one][0] > keyed[other][0]:
        one, other, seen = other, one, -seen
    difference = judgement.grades[one] - judgement.grades[other]
    margin = abs(difference) / rating_range if judgement.kind == "rating" else judgement.margin or 0.0
    return Choice(
        prompt=judgement.prompt, first=keyed[one][1], second=keyed[other][1],
        key=f"{prompt_key}:{keyed[one][0]}:{keyed[other][0]}", prompt_key=prompt_key,
        vote=(difference > 0) - (difference < 0), annotator=judgement.annotator, origin=judgement.origin,
        margin=margin, seen_first=seen if len(keyed) == 2 else 0,
        seconds=judgement.seconds if len(keyed) == 2 else None,
    )  # fmt: skip


def _gathered(judgements: Iterable[Judgement]) -> Iterator[Judgement]:
    """The judgements, single grades of one person on one prompt (and of one kind) made into one."""
    single: dict[tuple[str, str, Kind], list[Judgement]] = {}
    order: list[Judgement | tuple[str, str, Kind]] = []
    for judgement in judgements:
        if len(judgement.answers) > 1:
            order.append(judgement)
            continue
        place = (judgement.annotator, key_of(judgement.prompt), judgement.kind)
        if place not in single:
            single[place] = []
            order.append(place)
        single[place].append(judgement)
    for each in order:
        if isinstance(each, Judgement):
            yield each
        else:
            yield _joined(single[each])


def _joined(parts: Sequence[Judgement]) -> Judgement:
    """Several graded answers side by side; of an answer that was graded twice, the last grade counts."""
    last = {key_of(part.answers[0]): part for part in parts}
    first = parts[0]
    return Judgement(
        first.kind, first.prompt, tuple(part.answers[0] for part in last.values()),
        tuple(part.grades[0] for part in last.values()), first.origin, first.annotator,
    )  # fmt: skip
