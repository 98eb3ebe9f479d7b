"""Answers that are labels: how they are balanced, which are rare, and which are one label spelt in two ways."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted, num_rows
from etude.data.audit.remedies import Remedies
from etude.records import Judged, Origin

MOST_LABELS = 1_000
LONGEST_LABEL = 80
ROWS_A_LABEL = 3
"""Answers are labels if there are at least so many rows for each, on average."""
FIRST_LOOK = 2_000
MOST_FIELDS = 30
DOMINANT = 0.8
SAME = re.compile(r"[\W_]+")
NEAR = 0.85
ANSWER = "answer"
MISSPELT_SHARE = 0.05


def outcomes(one: Example) -> Iterator[tuple[str, str]]:
    """(name, value) of whatever about an answer may be a label: the whole of it, or each field of a JSON object."""
    if isinstance(one.record, Judged):
        yield "judgement", str(one.record.judgement).lower()
        return
    answer = one.answer.strip()
    if not answer or one.rejected is not None:
        return
    if answer.startswith("{"):
        try:
            held = json.loads(answer)
        except (ValueError, RecursionError):
            held = None
        if isinstance(held, dict):
            for key, value in held.items():
                if isinstance(value, str | bool | int) and len(str(value)) <= LONGEST_LABEL:
                    yield key, value if isinstance(value, str) else json.dumps(value)
            return
    if len(answer) <= LONGEST_LABEL and "\n" not in answer:
        yield ANSWER, answer


@dataclass(frozen=True)
class LabelTable:
    """The labels of one outcome."""

    name: str
    """`answer`, or the field of the JSON answers."""
    counts: tuple[tuple[str, int], ...]
    """From the commonest on."""
    rows: int

    @property
    def effective(self) -> float:
        """As how many equally frequent labels these are: the exponential of their entropy."""
        return math.exp(-sum(count / self.rows * math.log(count / self.rows) for _, count in self.counts))

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for label, _ in self.counts)


@dataclass
class Labels:
    """Counts outcomes as rows pass; one that turns out not to be a label is forgotten."""

    rare_rows: int
    rows: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    places: dict[str, dict[str, list[Origin]]] = field(default_factory=dict)
    """Of each label, its first rows."""
    _given_up: set[str] = field(default_factory=set)

    def take(self, one: Example) -> None:
        """One more row."""
        self.rows += 1
        for name, value in outcomes(one):
            if name in self._given_up or (name not in self.counts and len(self.counts) >= MOST_FIELDS):
                continue
            counted = self.counts.setdefault(name, Counter())
            counted[value] += 1
            held = self.places.setdefault(name, {}).setdefault(value, [])
            if len(held) < max(self.rare_rows, 50):
                held.append(one.origin)
            if len(counted) > MOST_LABELS or (counted.total() >= FIRST_LOOK and not _repeats(counted)):
                self._given_up.add(name)
                del self.counts[name], self.places[name]

    def finish(self) -> tuple[LabelTable, ...]:
        """The outcomes that are labels, the answer first."""
        return tuple(
            LabelTable(name, tuple(counted.most_common()), counted.total())
            for name, counted in self.counts.items()
            if _repeats(counted) and 2 * counted.total() > self.rows and len(counted) > 1
        )

    def findings(self, tables: tuple[LabelTable, ...], remedies: Remedies) -> list[Finding]:
        """What is odd about them."""
        return [
            finding
            for table in tables
            for finding in (*self._rare(table), *self._dominant(table, remedies), *self._spellings(table, remedies))
        ]

    def _rare(self, table: LabelTable) -> list[Finding]:
        respelt = {rare for rare, _ in _respelt(table)}
        rare = [(label, count) for label, count in table.counts if count < self.rare_rows and label not in respelt]
        if not rare:
            return []
        spotted = Spotted()
        for label, count in reversed(rare):
            for origin in self.places[table.name][label][:count]:
                spotted.add(origin, f"{label} ({num_rows(count)})")
        few = f"{len(rare)} of {len(table.counts)} labels of {_called(table)}"
        return spotted.finding(
            "rare-labels", "warning" if len(rare) * 4 >= len(table.counts) or _worth(rare) else "note",
            f"{few} have fewer than {self.rare_rows} rows, {{rows}} in all",
            advice="A model can hardly learn them and a test can hardly measure them. Collect more, or merge labels: "
            + ", ".join(f"{label} ({count})" for label, count in rare[-8:]),
        )  # fmt: skip

    def _dominant(self, table: LabelTable, remedies: Remedies) -> list[Finding]:
        label, count = table.counts[0]
        if count < DOMINANT * table.rows:
            return []
        spotted = Spotted()
        for origin in self.places[table.name][label]:
            spotted.add(origin, label)
        spotted.count = count
        return spotted.finding(
            "dominant-label", "warning", f"{{rows}} ({count / table.rows:.0%}) have the same {_called(table)}: {label}",
            advice="Always answering it scores as much. Balance the labels, and measure macro-F1 instead of accuracy.",
        )  # fmt: skip

    def _spellings(self, table: LabelTable, remedies: Remedies) -> list[Finding]:
        spotted = Spotted()
        for rare, common in _respelt(table):
            for origin in self.places[table.name][rare]:
                spotted.add(origin, f"{rare!r} for {common!r}")
            spotted.count += dict(table.counts)[rare] - len(self.places[table.name][rare])
        return spotted.finding(
            "label-spelling", "warning", f"{{rows}} spell the {_called(table)} in another way than most",
            advice="To a model two spellings are two labels, and the score counts one of them wrong.",
        )  # fmt: skip


def _called(table: LabelTable) -> str:
    return "label" if table.name == ANSWER else f"field {table.name!r}"


def _worth(rare: list[tuple[str, int]]) -> bool:
    return any(count < 3 for _, count in rare)


def _repeats(counted: Counter[str]) -> bool:
    return counted.total() >= ROWS_A_LABEL * len(counted) and len(counted) <= MOST_LABELS


def _respelt(table: LabelTable) -> list[tuple[str, str]]:
    """(rare spelling, the common one): equal but for case and signs, or a slip in a label that hardly occurs."""
    found: list[tuple[str, str]] = []
    by_letters: dict[str, str] = {}
    mean = table.rows / len(table.counts)
    for label, count in table.counts:
        letters = SAME.sub("", label.casefold()) or label
        common = by_letters.setdefault(letters, label)
        if common != label:
            found.append((label, common))
        elif count < MISSPELT_SHARE * mean and len(label) >= 5:
            near = next((other for other in by_letters.values() if other != label and _slip(label, other)), None)
            found += [(label, near)] if near else []
    return found


def _slip(label: str, other: str) -> bool:
    """Whether one is the other with a letter or two wrong; numbers that differ mean something."""
    if re.findall(r"\d+", label) != re.findall(r"\d+", other) or abs(len(label) - len(other)) > 2:
        return False
    if label.endswith(other) or other.endswith(label):  # irreversible is no slip of reversible
        return False
    return SequenceMatcher(None, label, other, autojunk=False).ratio() >= NEAR
