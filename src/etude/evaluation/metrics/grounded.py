"""Whether an answer says only what a given context says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Problem, Scored
from etude.evaluation.metrics.words import sentences, words

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after again all also am an and any are as at be because been before being below between
        both but by can could did do does doing down during each few for from further had has have having he her
        here hers him his how i if in into is it its just me more most my no nor not now of off on once only or
        other our out over own s same she should so some such t than that the their them then there these they
        this those through to too under until up very was we were what when where which while who whom why will
        with would you your
        """,
    )
)
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class Grounded(Metric):
    """The share of an answer's sentences that the context supports; the reference is the context.

    A sentence is supported where so many of its content words, and all of its numbers, stand in the context. Words are
    compared as they are written, so a paraphrase counts less than it should and a contradiction in the same words is
    not seen: read it as a change between two models, not as truth. An answer without content claims nothing and counts
    as supported; `says_something` tells those apart.
    """

    support: float = 0.7
    """Share of a sentence's content words that must stand in the context."""

    primary: ClassVar[str] = "grounded"

    def problems(self) -> list[tuple[str, str]]:
        return [] if 0 < self.support <= 1 else [("support", f"must be above 0 and at most 1, got {self.support:g}")]

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [(place, "the context has no words") for place, one in enumerate(references) if not words(one)]

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `unsupported`, the sentences that the context does not support."""
        context = words(reference)
        known, triples = set(context), set(_triples(context))
        parts = [(sentence, content_words(sentence)) for sentence in sentences(answer)]
        claims = [(sentence, content) for sentence, content in parts if content]
        unsupported = [sentence for sentence, content in claims if not self._supported(content, known)]
        content = [word for _, held in claims for word in held]
        answered = list(_triples(words(answer)))
        scores = {
            self.primary: 1 - len(unsupported) / len(claims) if claims else 1.0,
            "content_overlap": sum(word in known for word in content) / len(content) if content else 1.0,
            "trigram_overlap": sum(one in triples for one in answered) / len(answered) if answered else 1.0,
            "says_something": float(bool(claims)),
        }
        return Scored(scores, {"unsupported": unsupported})

    def _supported(self, content: Sequence[str], known: set[str]) -> bool:
        share = sum(word in known for word in content) / len(content)
        return share >= self.support and all(word in known for word in content if _NUMBER.search(word))


def content_words(text: str) -> list[str]:
    """The words that carry what a sentence says."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def _triples(held: Sequence[str]) -> list[tuple[str, str, str]]:
    return list(zip(held, held[1:], held[2:], strict=False))
