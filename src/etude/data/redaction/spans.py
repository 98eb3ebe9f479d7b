"""What a detector finds: a span of a text and its kind; overlapping findings become one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Place = tuple[int, int]
"""Where something begins and ends in a text."""
Detector = Callable[[str], Iterator[Place]]
"""Finds one kind of thing; a pure function of the text."""
NEAR = 48
"""So many characters before a number may say what the number is."""


class Span(NamedTuple):
    """Something found in a text."""

    start: int
    stop: int
    kind: str


def resolve(found: Iterable[Span], order: Mapping[str, int]) -> list[Span]:
    """Spans that no longer overlap, in the text's order: the longer one counts, then the kind earlier in `order`.

    What a shorter one covers beyond the longer one is kept, so that no found letter or digit is left in the text.
    """
    chosen: list[Span] = []
    for span in sorted(set(found), key=lambda span: (span.start - span.stop, order[span.kind], span.start)):
        chosen += _outside(span, chosen)
    return sorted(chosen)


def _outside(span: Span, chosen: Sequence[Span]) -> list[Span]:
    pieces = [span]
    for other in chosen:
        pieces = [piece for each in pieces for piece in _without(each, other)]
    return pieces


def _without(span: Span, other: Span) -> list[Span]:
    if other.stop <= span.start or span.stop <= other.start:
        return [span]
    left, right = Span(span.start, other.start, span.kind), Span(other.stop, span.stop, span.kind)
    return [piece for piece in (left, right) if piece.stop > piece.start]


def before(text: str, start: int, width: int = NEAR) -> str:
    """The characters that lead up to a place, from its own line and the one above."""
    return text[max(0, start - width) : start]


def matches(pattern: re.Pattern[str], text: str, group: int | str = 0) -> Iterator[Place]:
    """Where a pattern's group stands."""
    for match in pattern.finditer(text):
        yield match.span(group)
