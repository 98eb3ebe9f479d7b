"""How people mistype: neighbours on the keyboard, swapped, lost and doubled letters, lost capitals and punctuation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS: dict[str, str] = {
    char: "".join(
        ROWS[row][at]
        for row in range(max(0, here - 1), min(len(ROWS), here + 2))
        for at in range(place - 1, place + 2)
        if 0 <= at < len(ROWS[row]) and ROWS[row][at] != char
    )
    for here, keys in enumerate(ROWS) for place, char in enumerate(keys)
}  # fmt: skip
"""The keys around each key of an English keyboard."""
WORD = re.compile(r"[^\W\d_]{4,}")
EXACT = re.compile(r"\S*[\d@/\\{}<>_]\S*")
"""What is only right as it is: numbers, addresses, code."""

Span = tuple[int, int]


def noised(text: str, dice: Random, *, strength: float, kept: Sequence[Span] = ()) -> str:
    """The text with `strength` of its longer words mistyped, one at least; spans in `kept`, numbers and code stay."""
    exact = [*kept, *(match.span() for match in EXACT.finditer(text))]
    free = [
        match for match in WORD.finditer(text)
        if not any(start < match.end() and match.start() < stop for start, stop in exact)
    ]  # fmt: skip
    chosen = dice.sample(free, min(len(free), max(1, round(strength * len(free)))))
    made, at = [], 0
    for match in sorted(chosen, key=lambda match: match.start()):
        made += [text[at : match.start()], dice.choice(TYPOS)(match[0], dice)]
        at = match.end()
    changed = "".join((*made, text[at:]))
    return changed if exact or dice.random() >= strength else dice.choice(STYLES)(changed)


def _neighbour(word: str, dice: Random) -> str:
    place = dice.randrange(len(word))
    keys = NEIGHBOURS.get(word[place].lower(), word[place])
    other = dice.choice(keys)
    return word[:place] + (other.upper() if word[place].isupper() else other) + word[place + 1 :]


def _swapped(word: str, dice: Random) -> str:
    place = dice.randrange(len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _lost(word: str, dice: Random) -> str:
    place = dice.randrange(1, len(word))
    return word[:place] + word[place + 1 :]


def _doubled(word: str, dice: Random) -> str:
    place = dice.randrange(len(word))
    return word[: place + 1] + word[place:]


def _no_capitals(text: str) -> str:
    return text.lower()


def _no_punctuation(text: str) -> str:
    return re.sub(r"[.,!?;:](?=\s|$)", "", text)


TYPOS: tuple[Callable[[str, Random], str], ...] = (_neighbour, _swapped, _lost, _doubled)
STYLES: tuple[Callable[[str], str], ...] = (_no_capitals, _no_punctuation)
