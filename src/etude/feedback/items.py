"""What there is to judge: prompts with one answer or two, in an order that is the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import Literal

from etude.data.check import BadRow, RowError
from etude.data.inputs import Inputs, Row
from etude.feedback.judgements import Messages, key_of
from etude.feedback.layouts import RowView, listed
from etude.records import Conversation, Origin

Mode = Literal["pairs", "thumbs", "rating", "edit"]
GAP = 20
"""Items between an item and its repetition."""


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and what was answered."""

    prompt: Messages
    answers: tuple[Messages, ...]
    origin: Origin

    @property
    def key(self) -> str:
        """The same for the same content, whichever answer comes first."""
        first, *others = sorted(key_of(answer) for answer in self.answers)
        return ":".join((key_of(self.prompt), first, *others))


@dataclass(frozen=True, slots=True)
class Showing:
    """An item on the screen."""

    item: Item
    key: str
    repeat: int
    """0: the first time."""
    swapped: bool
    """Whether the second answer is shown first."""

    @property
    def answers(self) -> tuple[Messages, ...]:
        """As they are shown."""
        return self.item.answers[::-1] if self.swapped else self.item.answers


def read_items(inputs: Inputs, columns: Mapping[str, str], *, single: bool) -> tuple[list[Item], list[str]]:
    """(items without copies, why other rows hold none): pairs of answers, or with `single` each answer alone."""
    found: dict[str, Item] = {}
    reasons = []
    for row in inputs.each("reading answers"):
        if isinstance(row, BadRow):
            reasons.append(str(row))
            continue
        try:
            for item in _items(row, columns, single=single):
                found.setdefault(item.key, item)
        except RowError as error:
            reasons.append(f"{row.origin}: {error}")
    return list(found.values()), reasons


def _items(row: Row, columns: Mapping[str, str], *, single: bool) -> Iterable[Item]:
    view = RowView(row.columns, columns, row.origin)
    several = listed(view.get("answers"))
    for one, other in (("chosen", "rejected"), ("first", "second"), ("edited", "original")):
        if several is None and view.get(one) is not None and view.get(other) is not None:
            several = [view.get(one), view.get(other)]
    if several is not None:
        pairs = [view.pair(one, other) for one, other in combinations(several, 2) if one != other]
        if not pairs:
            raise RowError("there are not two different answers")
        if not single:
            return [Item(prompt, answers, row.origin) for prompt, answers in pairs]
        return [Item(prompt, (answer,), row.origin) for prompt, answers in pairs for answer in answers]
    if not single:
        raise RowError("no two answers; judge single ones with --mode thumbs or rating")
    return [_alone(view, row)]


def _alone(view: RowView, row: Row) -> Item:
    answer = view.get("answer")
    if answer is not None:
        prompt, said = view.single(answer)
        return Item(prompt, (said,), row.origin)
    (record, *_) = row.records()
    if not isinstance(record, Conversation):
        raise RowError("no prompt with an answer")
    last = max(at for at, message in enumerate(record.messages) if message.role == "assistant")
    if not last:
        raise RowError("no prompt: the conversation starts with the answer")
    return Item(record.messages[:last], (record.messages[last : last + 1],), row.origin)


def showings(items: Sequence[Item], *, annotator: str, seed: int, repeat: float) -> list[Showing]:
    """Every item once, in the file's order, and a share of them again some items later, the other way round.

    Which answer is shown first follows from seed, annotator and content alone.
    """
    found: list[tuple[float, Showing]] = []
    for place, item in enumerate(items):
        key = item.key
        drawn = _unit(seed, annotator, key)
        swapped = len(item.answers) > 1 and drawn < 0.5
        found.append((place, Showing(item, key, 0, swapped)))
        if _unit(seed, "repeat", annotator, key) < repeat:
            later = Showing(item, key, 1, len(item.answers) > 1 and not swapped)
            found.append((place + min(GAP, len(items)) + 0.5, later))
    return [showing for _, showing in sorted(found, key=lambda each: each[0])]


def _unit(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    return int.from_bytes(sha256("\0".join(map(str, parts)).encode()).digest()[:8]) / 2**64
