"""Label tasks: an answer is one of a few labels, or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from etude.evaluation.metrics.base import Metric, Problem, Scored, Summary, means
from etude.evaluation.metrics.words import normalize

UNKNOWN = "(unknown)"


def labels_of(references: Sequence[str]) -> tuple[str, ...]:
    """The labels that occur, sorted; spellings that are the same once normalised count as one."""
    by_normal_form = {normalize(reference): reference for reference in sorted(references, reverse=True)}
    return tuple(sorted(by_normal_form.values()))


@dataclass(frozen=True, kw_only=True)
class Label(Metric):
    """Maps an answer to a label by normalised match; accuracy, macro-F1, precision and recall, confusion matrix.

    An answer that is no label is unknown: wrong, and a column of its own in the confusion matrix. Macro-F1 is the mean
    over the labels that occur as references, so that two models are averaged over the same labels.
    """

    labels: tuple[str, ...] = ()
    """The possible answers; left out, the references that occur."""

    primary: ClassVar[str] = "accuracy"

    def fitted(self, references: Sequence[str]) -> Label:
        return self if self.labels else replace(self, labels=labels_of(references))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {normalize(label): place for place, label in enumerate(self.labels)}

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        found: list[Problem] = []
        forms: dict[str, str] = {}
        for label in self.labels:
            form = normalize(label)
            if not form:
                found.append((None, f"the label {label!r} is empty once normalised"))
            if form in forms:
                found.append((None, f"the labels {forms[form]!r} and {label!r} are the same once normalised"))
            forms[form] = label
        return found + [
            (place, f"the reference {reference!r} is not among the labels")
            for place, reference in enumerate(references)
            if normalize(reference) not in forms
        ]

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `label`, the label that the answer was understood as, or None."""
        place = self._place.get(normalize(answer))
        right = place is not None and place == self._place[normalize(reference)]
        return Scored({self.primary: float(right)}, {"label": None if place is None else self.labels[place]})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        counts = self._confusion(scored, references)
        rows = [_label_row(counts, place, label) for place, label in enumerate(self.labels)]
        occurring = [row["f1"] for row in rows if row["count"]]
        scores = means(scored) | {
            "macro_f1": sum(occurring) / len(occurring),
            "unknown": sum(line[-1] for line in counts) / len(scored),
        }
        matrix = {"rows": list(self.labels), "columns": [*self.labels, UNKNOWN], "counts": counts}
        tables = {"labels": rows, "confusion": matrix}
        return Summary(scores, tables, {"macro_f1": _macro_f1_interval(counts)} if len(scored) > 1 else {})

    def _confusion(self, scored: Sequence[Scored], references: Sequence[str]) -> list[list[int]]:
        """counts[reference][answer]; the last column counts the unknown answers."""
        counts = [[0] * (len(self.labels) + 1) for _ in self.labels]
        for item, reference in zip(scored, references, strict=True):
            label = item.details["label"]
            column = len(self.labels) if label is None else self._place[normalize(label)]
            counts[self._place[normalize(reference)]][column] += 1
        return counts


def _label_row(counts: list[list[int]], place: int, label: str) -> dict[str, Any]:
    right = counts[place][place]
    count = sum(counts[place])
    answered = sum(line[place] for line in counts)
    return {
        "label": label,
        "count": count,
        "answered": answered,
        "precision": right / answered if answered else 0.0,
        "recall": right / count if count else 0.0,
        "f1": 2 * right / (count + answered) if count + answered else 0.0,
    }


def _macro_f1_interval(counts: list[list[int]], *, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap; drawing items anew is drawing the confusion matrix anew."""
    import numpy as np

    matrix = np.asarray(counts)
    num_items = int(matrix.sum())
    generator = np.random.default_rng(seed)
    macro = np.empty(resamples)
    for place in range(resamples):
        drawn = generator.multinomial(num_items, matrix.ravel() / num_items).reshape(matrix.shape)
        count, answered = drawn.sum(axis=1), drawn[:, :-1].sum(axis=0)
        f1 = 2 * np.diagonal(drawn) / np.maximum(count + answered, 1)
        macro[place] = f1[count > 0].mean()
    low, high = np.quantile(macro, [0.025, 0.975])
    return float(low), float(high)
