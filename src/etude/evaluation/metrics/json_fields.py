"""JSON tasks: is the answer JSON, and which of its fields are right?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from etude.evaluation.intervals import bootstrap_ratio
from etude.evaluation.metrics.base import Metric, Problem, Scored, Summary, means
from etude.json_values import flatten, parse_object, same


@dataclass(frozen=True, kw_only=True)
class JsonFields(Metric):
    """Object match, validity, and field F1 over (field, value) pairs.

    A valid answer is one JSON object and nothing else: what a program that reads it would accept. An answer that is not
    valid has no fields. A wrong value counts against precision and recall, a missing field against recall, an
    additional one against precision.
    """

    fields: tuple[str, ...] = ()
    """Only these (`a.b` inside objects; `a` means everything below it); left out, all that occur."""

    primary: ClassVar[str] = "object_match"

    def _leaves(self, value: Mapping[str, Any]) -> dict[str, Any]:
        leaves = {".".join(path): leaf for path, leaf in flatten(value).items()}
        if not self.fields:
            return leaves
        inside = tuple(f"{name}." for name in self.fields)
        return {name: leaf for name, leaf in leaves.items() if name in self.fields or name.startswith(inside)}

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        found: list[Problem] = []
        for place, reference in enumerate(references):
            value = parse_object(reference)
            if value is None:
                found.append((place, f"the reference is not one JSON object: {reference[:60]!r}"))
            elif not self._leaves(value):
                wanted = f"none of the fields {', '.join(self.fields)}" if self.fields else "no fields"
                found.append((place, f"the reference has {wanted}"))
        return found

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `fields`, for each one "right", "wrong", "missing" or "extra"."""
        wanted_object = parse_object(reference)
        assert wanted_object is not None  # problems() has seen to it
        wanted = self._leaves(wanted_object)
        value = parse_object(answer)
        given = {} if value is None else self._leaves(value)
        fates = {
            name: _fate(name, wanted, given) for name in (*wanted, *(name for name in given if name not in wanted))
        }
        right = sum(fate == "right" for fate in fates.values())
        scores = {
            self.primary: float(value is not None and right == len(fates)),
            "valid_json": float(value is not None),
            "field_f1": 2 * right / (len(wanted) + len(given)),
        }
        return Scored(scores, {"fields": fates})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """`field_f1` is the mean over items; `micro_f1` pools the pairs of all items, as in information extraction."""
        fates: dict[str, list[str]] = {}
        for item in scored:
            for name, fate in item.details["fields"].items():
                fates.setdefault(name, []).append(fate)
        rows = [_field_row(name, here) for name, here in fates.items()]
        pooled = _field_row("", [fate for here in fates.values() for fate in here])
        scores = means(scored) | {f"micro_{name}": pooled[name] for name in ("precision", "recall", "f1")}
        items = [_field_row("", item.details["fields"].values()) for item in scored]
        if len(items) < 2:
            return Summary(scores, {"fields": rows})
        above = [2.0 * item["right"] for item in items]
        below = [float(item["count"] + item["answered"]) for item in items]
        return Summary(scores, {"fields": rows}, {"micro_f1": bootstrap_ratio(above, below).interval(0.95)})


def _fate(name: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    if name not in given:
        return "missing"
    if name not in wanted:
        return "extra"
    return "right" if same(wanted[name], given[name]) else "wrong"


def _field_row(name: str, fates: Iterable[str]) -> dict[str, Any]:
    counts = dict.fromkeys(("right", "wrong", "missing", "extra"), 0)
    for fate in fates:
        counts[fate] += 1
    right, wrong, missing, extra = counts.values()
    count, answered = right + wrong + missing, right + wrong + extra
    return {
        "field": name,
        "count": count,
        "answered": answered,
        **counts,
        "accuracy": right / count if count else 0.0,
        "precision": right / answered if answered else 0.0,
        "recall": right / count if count else 0.0,
        "f1": 2 * right / (count + answered) if count + answered else 0.0,
    }
