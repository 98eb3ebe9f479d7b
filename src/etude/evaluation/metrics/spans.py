"""Extraction: which spans of which type an answer names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from etude.evaluation.intervals import bootstrap_ratio
from etude.evaluation.metrics.base import Metric, Problem, Scored, Summary, means
from etude.evaluation.metrics.words import normalize

Spans = Counter[tuple[str, str]]
"""(type, normalised text) → how often."""


@dataclass(frozen=True, kw_only=True)
class SpanF1(Metric):
    """F1 over (type, text) pairs; texts are compared after `normalize`, and a span named twice counts twice.

    Answers and references are JSON: {"person": ["Ann", "Bo"], "place": []}, a list of {"type", "text"}, or a plain
    list of texts where there is only one type. An answer that is none of these names nothing.
    """

    types: tuple[str, ...] = ()
    """Only these; left out, all that occur."""

    primary: ClassVar[str] = "span_f1"

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        found: list[Problem] = []
        for place, reference in enumerate(references):
            if parse_spans(reference) is None:
                found.append((place, f"the reference is no JSON of spans: {reference[:60]!r}"))
        return found

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `spans`, for each type [right, wanted, named]. Nothing wanted and nothing named is right."""
        wanted, named = self._kept(parse_spans(reference)), self._kept(parse_spans(answer))
        right = wanted & named
        total = wanted.total() + named.total()
        kinds = sorted({kind for kind, _ in (*wanted, *named)})
        counts = {kind: [_of(kind, one) for one in (right, wanted, named)] for kind in kinds}
        scores = {
            self.primary: 2 * right.total() / total if total else 1.0,
            "all_spans": float(wanted == named),
            "valid_json": float(parse_spans(answer) is not None),
        }
        return Scored(scores, {"spans": counts})

    def _kept(self, spans: Spans | None) -> Spans:
        return Counter({span: n for span, n in (spans or {}).items() if not self.types or span[0] in self.types})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """`span_f1` is the mean over items; `micro_f1` pools the spans of all items."""
        items = [_pooled(item.details["spans"].values()) for item in scored]
        right, wanted, named = _pooled(items)
        scores = means(scored) | {
            "micro_precision": right / named if named else 0.0,
            "micro_recall": right / wanted if wanted else 0.0,
            "micro_f1": 2 * right / (wanted + named) if wanted + named else 1.0,
        }
        kinds = sorted({kind for item in scored for kind in item.details["spans"]})
        rows = [_row(kind, _pooled(item.details["spans"].get(kind, (0, 0, 0)) for item in scored)) for kind in kinds]
        pairs = [(2.0 * item[0], float(item[1] + item[2])) for item in items if item[1] + item[2]]
        if len(pairs) < 2:
            return Summary(scores, {"fields": rows})
        above, below = zip(*pairs, strict=True)
        return Summary(scores, {"fields": rows}, {"micro_f1": bootstrap_ratio(above, below).interval(0.95)})


def parse_spans(text: str) -> Spans | None:
    """The spans that a JSON text names, or None where it is no such text; ``` fences around it do not matter."""
    try:
        value = json.loads(text.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, Mapping):
        value = [{"type": kind, "text": one} for kind, held in value.items() for one in _listed(held)]
    if not isinstance(value, list):
        return None
    found: Spans = Counter()
    for one in value:
        span = one if isinstance(one, Mapping) else {"text": one}
        if not isinstance(span.get("text"), str | int | float):
            return None
        found[str(span.get("type", "")), normalize(str(span["text"]))] += 1
    return found


def _listed(held: object) -> list[Any]:
    if held is None:
        return []
    return held if isinstance(held, list) else [held]


def _of(kind: str, spans: Spans) -> int:
    return sum(n for (one, _), n in spans.items() if one == kind)


def _pooled(counts: Iterable[Sequence[int]]) -> tuple[int, int, int]:
    held = list(counts)
    right, wanted, named = (sum(one[place] for one in held) for place in range(3))
    return right, wanted, named


def _row(kind: str, counts: tuple[int, int, int]) -> dict[str, Any]:
    """In the columns of `json`'s table of fields: a span of a wrong text is missing here and extra there."""
    right, wanted, named = counts
    return {
        "field": kind or "(spans)",
        "count": wanted,
        "answered": named,
        "right": right,
        "wrong": 0,
        "missing": wanted - right,
        "extra": named - right,
        "accuracy": right / wanted if wanted else 0.0,
        "precision": right / named if named else 0.0,
        "recall": right / wanted if wanted else 0.0,
        "f1": 2 * right / (wanted + named) if wanted + named else 0.0,
    }
