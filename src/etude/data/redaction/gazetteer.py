"""Word lists that tell names from words: first and last names, places, and English words as a dictionary has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent / "gazetteers"
ENDINGS = (
    ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""),
    ("er", ""), ("er", "e"), ("est", ""), ("est", "e"), ("ness", ""), ("ers", ""), ("ers", "e"),
)  # fmt: skip
SHORTEST_STEM = 3


def listed(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


@cache
def words() -> frozenset[str]:
    """English words in lower case, inflected forms left out."""
    return _lines("words.txt")


@cache
def first_names() -> frozenset[str]:
    """First names of some 80 languages and countries, lower case, Latin letters."""
    return _lines("first_names.txt")


@cache
def last_names() -> frozenset[str]:
    """Family names of the same, lower case."""
    return _lines("last_names.txt")


@cache
def places() -> frozenset[str]:
    """Countries, states and cities of more than 30,000 people, lower case."""
    return _lines("places.txt") | countries()


@cache
def countries() -> frozenset[str]:
    """Countries by their usual names and short forms, lower case: places whatever stands around them."""
    return _lines("countries.txt")


@cache
def is_word(word: str) -> bool:
    """Whether an English dictionary has the lower-case word, in whatever inflection."""
    return word in words() or any(is_word(base) for base in _bases(word))


def is_inflected(word: str, known: frozenset[str] | set[str]) -> bool:
    """Whether a shorter known word makes this one."""
    return any(base in known for base in _bases(word))


def _bases(word: str) -> Iterator[str]:
    for ending, instead in ENDINGS:
        base = word.removesuffix(ending) + instead
        if not word.endswith(ending) or len(base) < SHORTEST_STEM:
            continue
        yield base
        if len(base) > SHORTEST_STEM and base[-1] == base[-2]:
            yield base[:-1]


def _lines(name: str) -> frozenset[str]:
    return frozenset((HERE / name).read_text("utf-8").split("\n")) - {""}
