"""How one answer is compared with its reference, and how the items' scores become a report's numbers.

A metric scores each item (`score`), sums all items up (`summarize`) and refuses references that it cannot use
(`problems`). The first score of an item is the primary one: what reports lead with and comparisons pair.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from etude.evaluation.tasks import Task


@dataclass(frozen=True, slots=True)
class Scored:
    """One item's scores, and what is worth keeping beside them (the label understood, each field's fate)."""

    scores: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """All items together: numbers, and JSON-able tables for the pages."""

    scores: Mapping[str, float]
    tables: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % intervals of scores that are no means of item scores, where there are items enough."""


Problem = tuple[int | None, str]
"""Index of the reference that cannot be used (None: all of them) and what is wrong."""


class Metric(Protocol):
    """What a task's `metric` names. `primary` is a key of every item's scores."""

    @property
    def primary(self) -> str: ...

    def problems(self, references: Sequence[str]) -> list[Problem]:
        """What makes references unusable for this metric; empty when all can be used."""
        ...

    def score(self, answer: str, reference: str) -> Scored: ...

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary: ...


def metric_for(task: Task, references: Sequence[str]) -> Metric:
    """The metric that a task names; perplexity scores rows instead of answers and is not among them."""
    from etude.evaluation.json_fields import JsonFields
    from etude.evaluation.labels import Labels, labels_of

    if task.metric == "label":
        return Labels(labels=task.labels or labels_of(references))
    if task.metric == "json":
        return JsonFields(fields=task.fields)
    if task.metric == "regex":
        assert task.pattern is not None  # Task.problems() has seen to it
        return RegexMatch(pattern=task.pattern)
    plain: dict[str, Metric] = {
        "exact_match": ExactMatch(), "normalized_match": NormalizedMatch(), "rouge_l": RougeL(),
    }  # fmt: skip
    return plain[task.metric]


def means(scored: Sequence[Scored]) -> dict[str, float]:
    """The mean of every score over the items."""
    return {name: sum(item.scores[name] for item in scored) / len(scored) for name in scored[0].scores}


def normalize(text: str) -> str:
    """Caseless, without punctuation, with single spaces, compatibility forms unified (NFKC).

    Punctuation becomes a space, apostrophes vanish; what gives a number its value stays: the point or comma between
    two digits, and the minus before a number. Idempotent.
    """
    folded = unicodedata.normalize("NFD", text)
    for _ in range(2):  # Unicode's compatibility caseless match, definition D147
        folded = unicodedata.normalize("NFKD", folded.casefold())
    folded = unicodedata.normalize("NFKC", folded).replace("\u2212", "-")
    folded = re.sub(r"['’ʼ]", "", folded)
    kept = {match.start() for match in re.finditer(r"(?<=\d)[.,](?=\d)|(?<!\S)-(?=\d)", folded)}
    spaced = "".join(
        " " if unicodedata.category(letter).startswith("P") and place not in kept else letter
        for place, letter in enumerate(folded)
    )
    return " ".join(spaced.split())


@dataclass(frozen=True)
class ExactMatch:
    """1 if the answer is the reference, character for character, surrounding white space apart."""

    primary = "exact_match"

    def problems(self, references: Sequence[str]) -> list[Problem]:
        return []

    def score(self, answer: str, reference: str) -> Scored:
        return Scored({self.primary: float(answer.strip() == reference.strip())})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        return Summary(means(scored))


@dataclass(frozen=True)
class NormalizedMatch:
    """1 if answer and reference are equal after `normalize`."""

    primary = "normalized_match"

    def problems(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, f"nothing is left of the reference {reference!r} once normalised; use exact_match")
            for place, reference in enumerate(references)
            if not normalize(reference)
        ]

    def score(self, answer: str, reference: str) -> Scored:
        return Scored({self.primary: float(normalize(answer) == normalize(reference))})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        return Summary(means(scored))


@dataclass(frozen=True)
class RegexMatch:
    """Without a group: 1 if the pattern is found in the answer. With one: 1 if the group's last find is the reference.

    The group's text is compared after `normalize`. The pattern is tried on the reference as well, so that references
    such as GSM8K's, whose result stands behind `####`, can stay as they are.
    """

    pattern: str
    primary = "regex"

    def problems(self, references: Sequence[str]) -> list[Problem]:
        return []

    def score(self, answer: str, reference: str) -> Scored:
        compiled = re.compile(self.pattern)
        found = [match.group(compiled.groups) for match in compiled.finditer(answer)]
        if not compiled.groups:
            return Scored({self.primary: float(bool(found))})
        wanted = [match.group(1) for match in compiled.finditer(reference)]
        target = wanted[-1] if wanted else reference
        right = bool(found) and normalize(found[-1] or "") == normalize(target or "")
        return Scored({self.primary: float(right)}, {"found": found[-1] if found else None})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        return Summary(means(scored))


_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)


def words(text: str) -> list[str]:
    """Runs of letters and digits, caseless; Chinese characters and kana one by one. On ASCII, rouge_score's tokens."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length, bit-parallel: one big-integer step per word (Hyyrö 2004, "Bit-parallel LCS-length computation")."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(first)) - 1
    state = every
    for word in second:
        common = state & places.get(word, 0)
        state = (state + common) | (state - common)
    return (~state & every).bit_count()


@dataclass(frozen=True)
class RougeL:
    """F-measure of the longest common subsequence of words (Lin 2004, https://aclanthology.org/W04-1013/)."""

    primary = "rouge_l"

    def problems(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, f"the reference {reference!r} has no words")
            for place, reference in enumerate(references)
            if not words(reference)
        ]

    def score(self, answer: str, reference: str) -> Scored:
        answered, wanted = words(answer), words(reference)
        common = longest_common_subsequence(wanted, answered)
        total = len(answered) + len(wanted)
        return Scored({self.primary: 2 * common / total if total else 0.0})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        return Summary(means(scored))
