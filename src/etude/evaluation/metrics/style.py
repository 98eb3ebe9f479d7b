"""Whether answers keep the rules of a style: phrases, length, reading level, tone, form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Scored, Summary, means
from etude.evaluation.metrics.words import sentences, words


@dataclass(frozen=True, kw_only=True)
class Style(Metric):
    """1 if an answer keeps all the rules that are set; `rules_kept` is the share of them. References are not needed."""

    required: tuple[str, ...] = ()
    """Phrases that must be there, caseless."""
    banned: tuple[str, ...] = ()
    """Phrases that must not be there, caseless, at word borders."""
    min_words: int | None = None
    """Fewest words of an answer."""
    max_words: int | None = None
    """Most words of an answer."""
    max_sentence_words: float | None = None
    """Longest sentence on average, in words."""
    max_grade: float | None = None
    """Highest Flesch-Kincaid grade (years of school that English text asks of its reader)."""
    tone: tuple[str, ...] = ()
    """Words of the tone that is wanted; at least one of them must be there."""
    pattern: str | None = None
    """A regular expression that the whole answer must fit."""

    primary: ClassVar[str] = "style"

    @property
    def needs_reference(self) -> bool:
        return False

    def problems(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if not self._limits() and not (self.required or self.banned or self.tone or self.pattern):
            found.append(("metric", "'style' needs at least one rule, such as banned or max_words"))
        found += [(name, f"must be above 0, got {value:g}") for name, value in self._limits().items() if value <= 0]
        if self.min_words and self.max_words and self.min_words > self.max_words:
            found.append(("min_words", f"is above max_words ({self.min_words} > {self.max_words})"))
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                found.append(("pattern", f"is not a regular expression: {error}"))
        return found

    def _limits(self) -> dict[str, float]:
        names = ("min_words", "max_words", "max_sentence_words", "max_grade")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `broken`, the rules that are not kept."""
        kept = self._kept(answer)
        broken = [rule for rule, is_kept in kept.items() if not is_kept]
        scores = {self.primary: float(not broken), "rules_kept": 1 - len(broken) / len(kept)}
        return Scored(scores, {"broken": broken})

    def _kept(self, answer: str) -> dict[str, bool]:
        num_words, lower = len(words(answer)), answer.lower()
        kept = {f"required: {phrase}": phrase.lower() in lower for phrase in self.required}
        kept |= {f"banned: {phrase}": not _says(phrase, answer) for phrase in self.banned}
        if self.min_words is not None:
            kept["min_words"] = num_words >= self.min_words
        if self.max_words is not None:
            kept["max_words"] = num_words <= self.max_words
        if self.max_sentence_words is not None:
            kept["max_sentence_words"] = num_words / max(1, len(sentences(answer))) <= self.max_sentence_words
        if self.max_grade is not None:
            kept["max_grade"] = reading_grade(answer) <= self.max_grade
        if self.tone:
            kept["tone"] = any(_says(word, answer) for word in self.tone)
        if self.pattern is not None:
            kept["pattern"] = re.fullmatch(self.pattern, answer.strip(), re.DOTALL) is not None
        return kept

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """The table `rules` counts how often each was broken."""
        counts: Mapping[str, int] = dict.fromkeys(self._kept(""), 0)
        broken = [rule for one in scored for rule in one.details["broken"]]
        return Summary(
            means(scored),
            {"rules": [{"rule": rule, "broken": broken.count(rule), "of": len(scored)} for rule in counts]},
        )


def _says(phrase: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade of English text (1975, https://apps.dtic.mil/sti/citations/ADA006655); 0 without words."""
    held = words(text)
    if not held:
        return 0.0
    syllables = sum(map(num_syllables, held))
    return 0.39 * len(held) / max(1, len(sentences(text))) + 11.8 * syllables / len(held) - 15.59


def num_syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end; at least one."""
    groups = len(re.findall(r"[aeiouyàáâäãåèéêëìíîïòóôöõùúûü]+", word))
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ie", "ye")) and groups > 1
    return max(1, groups - silent)
