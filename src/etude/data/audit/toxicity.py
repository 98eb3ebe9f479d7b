"""Insults, profanity, slurs and threats, by a small lexicon of Etude's own; or by any classifier that is passed in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.remedies import Remedies

Classify = Callable[[Sequence[str]], Sequence[float]]
"""Texts to the chance that each is toxic (`etude.models.classifying`)."""
LIKELY = 0.5
WORD = re.compile(r"[\w@$!*'’]+")
FOLDED = str.maketrans("0134578@$!", "oieastbasi")
STARTS = re.compile(r"(?:^|[.!?:\n\"“(])\s*$")
REPEATED = re.compile(r"(.)\1{2,}")
THREAT = re.compile(
    r"\bkill (?:yourself|urself)\b"
    r"|\b(?:i(?:['’]ll| will|['’]m going to| am going to| want to| wanna)|(?:we|you|someone) should) "
    r"(?:kill|murder|rape|shoot|stab|strangle|lynch|gas|beat up|hang) (?:you|him|her|them|all|those|these|every)\b",
    re.IGNORECASE,
)
BATCH = 64


@cache
def lexicon() -> Mapping[str, str]:
    """Word, or its hash, to kind."""
    lines = files(__package__).joinpath("lexicon.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {word.removeprefix("#"): kind for kind, word in pairs}


@lru_cache(maxsize=1 << 16)
def kind_of_word(word: str) -> str | None:
    """What kind of word this is, digits and signs in the place of letters seen through; None for nearly all."""
    known = lexicon()
    for spelt in dict.fromkeys((word, word.translate(FOLDED), REPEATED.sub(r"\1", word.translate(FOLDED)))):
        hashed = blake2b(spelt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        kind = known.get(spelt) or known.get(hashed)
        if kind is not None:
            return kind
    return None


def toxic(text: str) -> dict[str, str]:
    """Kind to the first piece of the text that is of it."""
    found: dict[str, str] = {}
    for match in WORD.finditer(text):
        word = match.group()
        if word.istitle() and not STARTS.search(text[max(0, match.start() - 4) : match.start()]):
            continue  # within a sentence it is a name: Dick Tracy, Maine Coon
        kind = kind_of_word(word.casefold().strip("'’!*"))
        if kind is not None and kind not in found:
            found[kind] = _around(text, match)
    threat = THREAT.search(text)
    if threat is not None:
        found["threat"] = _around(text, threat)
    return found


def _around(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 40) : match.end() + 40]


@dataclass(frozen=True)
class ToxicityTable:
    """Rows by kind of what was found in them."""

    questions: tuple[tuple[str, int], ...]
    answers: tuple[tuple[str, int], ...]
    """In what is learned: the better answer of two."""
    by_classifier: int | None
    """Answers that a classifier calls toxic; None where none was given."""


@dataclass
class Toxicity:
    """Looks at inputs and answers as they pass."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    _asked: Spotted = field(default_factory=Spotted)
    _answered: Spotted = field(default_factory=Spotted)
    _classified: Spotted | None = None

    def take(self, one: Example) -> None:
        """One more row."""
        for text, counted, spotted in (
            (one.question, self.asked, self._asked), (one.answer, self.answered, self._answered),
        ):  # fmt: skip
            found = toxic(text)
            counted.update(found.keys())
            if found:
                spotted.add(one.origin, "; ".join(f"{kind}: …{shown}…" for kind, shown in found.items()))

    def classified(self, sample: Sequence[Example], classify: Classify) -> None:
        """Ask the classifier for each answer of the sample."""
        self._classified = Spotted()
        answered = [one for one in sample if one.answer]
        for start in range(0, len(answered), BATCH):
            batch = answered[start : start + BATCH]
            for one, chance in zip(batch, classify([one.answer for one in batch]), strict=True):
                if chance >= LIKELY:
                    self._classified.add(one.origin, f"{chance:.0%}: {one.answer}")

    def finish(self) -> ToxicityTable:
        """The counts."""
        counted = None if self._classified is None else self._classified.count
        return ToxicityTable(tuple(self.asked.most_common()), tuple(self.answered.most_common()), counted)

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What was seen."""
        learned = "The model learns to answer so; a lexicon knows no context, so read them."
        return [
            *self._answered.finding(
                "toxic-answers", "warning", "{rows} have insults, profanity, slurs or threats in what is learned",
                advice=learned, command=remedies.drop("toxic-answers"),
            ),
            *self._asked.finding(
                "toxic-inputs", "note", "{rows} have insults, profanity, slurs or threats in what is asked",
                advice="Users write so; fine if the answers show how to take it.",
            ),
            *(self._classified or Spotted()).finding(
                "toxic-by-classifier", "warning", "{rows} have an answer that the classifier calls toxic",
                advice="Read them, the surest first.", command=remedies.drop("toxic-by-classifier"),
            ),
        ]  # fmt: skip
