"""Which languages rows are written in, as far as their words tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.errors import EtudeError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNKNOWN = "unknown"
SURE = 0.8
FEWEST_LETTERS = 25
"""Below, words are shared by too many languages for a guess."""
LOOKED_AT = 1_000
RARE = 0.05
FEW_SPEAKERS = 2
"""Of a language with fewer rows than this nothing is said: it is more likely a wrong guess."""


@dataclass(frozen=True)
class LanguageTable:
    """Rows by language (two letters of ISO 639-1), the commonest first; `unknown` for short or mixed texts."""

    questions: tuple[tuple[str, int], ...]
    answers: tuple[tuple[str, int], ...]
    other_answers: int
    """Rows answered in another language than they ask in."""


def language(text: str) -> str:
    """The language of a text, or `unknown`. EtudeError where py3langid is not installed."""
    letters = sum(map(str.isalpha, text[:LOOKED_AT]))
    if letters < FEWEST_LETTERS:
        return UNKNOWN
    name, sure = _identifier().classify(text[:LOOKED_AT])
    return name if sure >= SURE else UNKNOWN


@cache
def _identifier() -> LanguageIdentifier:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise EtudeError("telling languages needs py3langid", remedy='pip install "etude[train]"') from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def languages(sample: Sequence[Example]) -> tuple[LanguageTable, list[Finding]]:
    """The languages of the sample's inputs and answers."""
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    crossed = Spotted()
    seldom: dict[str, Spotted] = {}
    for one in sample:
        of_question, of_answer = language(one.question), language(one.answer) if one.answer else UNKNOWN
        asked[of_question] += 1
        answered[of_answer] += 1
        if UNKNOWN not in (of_question, of_answer) and of_question != of_answer:
            crossed.add(one.origin, f"{of_question} → {of_answer}: {one.answer}")
        if of_question != UNKNOWN:
            seldom.setdefault(of_question, Spotted()).add(one.origin, one.question)
    table = LanguageTable(tuple(asked.most_common()), tuple(answered.most_common()), crossed.count)
    known = asked.total() - asked[UNKNOWN]
    rare = Spotted()
    names = []
    for name, spotted in sorted(seldom.items(), key=lambda pair: -pair[1].count):
        if FEW_SPEAKERS <= spotted.count < RARE * known:
            names.append(f"{name} ({spotted.count:,})")
            for place in spotted.places:
                rare.add(place.origin, f"{name}: {place.shown}")
    return table, [
        *rare.finding(
            "rare-languages", "note", f"{{rows}} are in languages that few others are in: {', '.join(names[:6])}",
            advice="Too few to learn from, and perhaps not meant to be here. Short texts are sometimes mistaken.",
        ),
        *(crossed.finding(
            "crossed-languages", "note", "{rows} are answered in another language than they ask in",
            advice="Fine for translation; otherwise the model learns to switch.",
        ) if FEW_SPEAKERS < crossed.count < 0.5 * known else []),
    ]  # fmt: skip
