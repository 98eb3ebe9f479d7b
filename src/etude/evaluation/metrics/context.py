"""Whether a model answers from a long context: wherever the fact stands, among facts alike, and not without one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from etude.evaluation.intervals import wilson
from etude.evaluation.metrics.base import Metric, Problem, Scored, Summary, means

NOT_SAID = "not stated"
"""What the items ask for where the documents do not say."""
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class ContextUse(Metric):
    """1 where the answer gives the fact of the documents, and for questions that they do not answer says so.

    The items are made by `etude data context`; each row says where its fact stands (`place`, 0 to 1, null: nowhere) and
    which wrong facts stand beside it (`others`).
    """

    primary: ClassVar[str] = "right"
    reads: ClassVar[tuple[str, ...]] = ("fact", "place", "others", "words")

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [
            (place, "fact must be a text of digits, or null with a null place")
            for place, held in enumerate(map(json.loads, references))
            if not _usable(held)
        ]

    def score(self, answer: str, reference: str) -> Scored:
        held = json.loads(reference)
        said, abstained = set(NUMBER.findall(answer)), NOT_SAID in answer.lower()
        wrong = bool(said & set(map(str, held["others"] or ())))
        if held["fact"] is None:
            right = abstained and not said
        else:
            right = str(held["fact"]) in said and not wrong and not abstained
        scores = {self.primary: float(right), "abstained": float(abstained), "gave_another_fact": float(wrong)}
        return Scored(scores, {"place": held["place"], "others": len(held["others"] or ()), "words": held["words"]})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """Right by the fact's place, by documents' length, with and without others alike; each with its interval."""
        parts: dict[str, list[float]] = {}
        for one in scored:
            for name in _parts(one.details):
                parts.setdefault(name, []).append(one.scores[self.primary])
        answerable = [one.scores["abstained"] for one in scored if one.details["place"] is not None]
        if answerable:
            parts["abstained_without_need"] = answerable
        order = sorted(parts, key=_order)
        scores = {name: sum(parts[name]) / len(parts[name]) for name in order}
        intervals = {name: wilson(sum(parts[name]), len(parts[name])) for name in order}
        table = [{"part": name, "count": len(parts[name]), "right": scores[name]} for name in order]
        return Summary({**means(scored), **scores}, {"context": table}, intervals)


def _usable(held: Mapping[str, Any]) -> bool:
    fact, place = held["fact"], held["place"]
    if fact is None:
        return place is None
    return isinstance(fact, str) and fact.isdigit() and isinstance(place, int | float) and 0 <= place <= 1


def _parts(details: Mapping[str, Any]) -> list[str]:
    if details["place"] is None:
        return ["right_where_nothing_is_stated"]
    alike = "right_among_facts_alike" if details["others"] else "right_without_facts_alike"
    return [f"right_at_{100 * details['place']:.0f}_percent", f"right_in_{details['words']}_words", alike]


def _order(name: str) -> tuple[int, float]:
    """By place, then by length, then the rest."""
    number = NUMBER.search(name)
    kinds = ("right_at", "right_in", "right_w", "right_a", "abstained")
    return next(at for at, kind in enumerate(kinds) if name.startswith(kind)), float(number[0]) if number else 0.0
