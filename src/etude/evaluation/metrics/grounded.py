"""Whether an answer says only what a given context says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from etude.data.context import shown
from etude.evaluation.metrics.base import Answered, Metric, Problem, Scored
from etude.evaluation.metrics.judge import judge_beside, judge_settings
from etude.evaluation.metrics.words import sentences, words
from etude.sampling.rewards.options import JudgeOptions

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
RUBRIC = (
    "The reference is a text that the answer must rest on. Judge only whether everything that the answer claims is "
    "supported by that text: the best grade where all of it is, the worst where none is or where it contradicts it."
)
NO_TEXT = "(There is no such text.)"
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class Grounded(Metric):
    """The share of an answer's sentences that the context supports.

    The context is the row's documents but for its distractors, where it has documents, else its reference. A sentence
    is supported where so many of its content words, and all of its numbers, stand in the context. Words are compared as
    they are written, so a paraphrase counts less than it should and a contradiction in the same words is not seen: read
    it as a change between two models, not as truth. An answer without content claims nothing and counts as supported;
    `says_something` tells those apart. `on_distractors` is the share of sentences that a distractor alone supports.
    """

    support: float = 0.7
    """Share of a sentence's content words that must stand in the context."""
    judge: JudgeOptions | None = None
    """Another model that grades the same beside the words, as `grounded_by_judge` (its `rubric` is not used)."""

    primary: ClassVar[str] = "grounded"
    reads_documents: ClassVar[bool] = True

    def problems(self) -> list[tuple[str, str]]:
        found = [] if self.judge is None else [(f"judge.{name}", says) for name, says in self.judge.problems()]
        if not 0 < self.support <= 1:
            found.append(("support", f"must be above 0 and at most 1, got {self.support:g}"))
        if self.judge is not None and self.judge.pairwise:
            found.append(("judge.pairwise", "must be false: the reference is a context, not another answer"))
        return found

    def beside(self, folder: Path) -> Self:
        return self if self.judge is None else replace(self, judge=judge_beside(self.judge, folder))

    def settings(self) -> dict[str, Any]:
        return {"support": self.support, "judge": None if self.judge is None else judge_settings(self.judge)}

    def scores(self, answered: Sequence[Answered]) -> list[Scored]:
        """By words, and by the judge if there is one. Raises EtudeError: it cannot be asked, or says nothing."""
        contexts = [_context(one) for one in answered]
        found = [self.score(one.answer, context) for one, context in zip(answered, contexts, strict=True)]
        if any(one.documents for one in answered):
            found = [self._beside(one, scored) for one, scored in zip(answered, found, strict=True)]
        if self.judge is None:
            return found
        from etude.evaluation.judging import open_judge, refuse_silence, written

        judge = open_judge(replace(self.judge, rubric=RUBRIC))
        grades = judge(
            [written(one.prompt, one.answer, held or NO_TEXT) for one, held in zip(answered, contexts, strict=True)]
        )
        refuse_silence(judge, grades)
        return [
            Scored({**one.scores, "grounded_by_judge": grade}, one.details)
            for one, grade in zip(found, grades, strict=True)
        ]

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

    def _beside(self, one: Answered, scored: Scored) -> Scored:
        """The same, and which of the sentences without support a distractor supports; `document` counts from 1."""
        distractors = {
            number: set(words(shown(held)))
            for number, held in enumerate(one.documents, start=1)
            if held.relevant is False
        }
        found = []
        for sentence in scored.details["unsupported"]:
            content = content_words(sentence)
            on = next((number for number, known in distractors.items() if self._supported(content, known)), None)
            found += [] if on is None else [{"sentence": sentence, "document": on}]
        claims = sum(bool(content_words(sentence)) for sentence in sentences(one.answer))
        scores = {**scored.scores, "on_distractors": len(found) / claims if claims else 0.0}
        return Scored(scores, {**scored.details, "on_distractors": found})

    def _supported(self, content: Sequence[str], known: set[str]) -> bool:
        share = sum(word in known for word in content) / len(content)
        return share >= self.support and all(word in known for word in content if _NUMBER.search(word))


def content_words(text: str) -> list[str]:
    """The words that carry what a sentence says."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def _context(one: Answered) -> str:
    """What may support the answer."""
    if not one.documents:
        return one.reference
    return "\n\n".join(shown(held) for held in one.documents if held.relevant is not False)


def _triples(held: Sequence[str]) -> list[tuple[str, str, str]]:
    return list(zip(held, held[1:], held[2:], strict=False))
