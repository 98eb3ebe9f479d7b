"""Rows that cannot be used, columns that change their type, and values that are missing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.remedies import Remedies
from etude.data.check import BadRow
from etude.data.columns import kind_of
from etude.data.inputs import Row

MOST_UNUSABLE = 0.01
"""The share of unusable rows above which training refuses the file (`data.max_bad_share`)."""
MOST_COLUMNS = 1_000
USUAL = 0.95
"""The share of rows from which on a column's type, or its being filled, is the rule."""
NUMBERS = re.compile(r"\d+")
PLACE = re.compile(r" \((column|byte|line).*")
"""Where in a row it is broken: the same fault in two places is one fault."""


@dataclass
class Schema:
    """Looks at rows as their files hold them."""

    rows: int = 0
    unusable: dict[str, Spotted] = field(default_factory=dict)
    """By reason."""
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    """How often a column holds what."""
    odd: dict[tuple[str, str], Spotted] = field(default_factory=dict)
    """The rows in which a column holds something that is rare in it, so far as that is known when they pass."""

    def take(self, row: Row) -> None:
        """One more row that could be taken apart."""
        self.rows += 1
        for name, held in row.columns.items():
            if name not in self.kinds and len(self.kinds) >= MOST_COLUMNS:
                continue
            kind = "nothing" if held == "" else kind_of(held)
            counted = self.kinds.setdefault(name, Counter())
            counted[kind] += 1
            if counted[kind] <= (1 - USUAL) * self.rows + 1:
                self.odd.setdefault((name, kind), Spotted()).add(row.origin, f"{name}: {held!r}")

    def refuse(self, bad: BadRow) -> None:
        """One more row that cannot be used."""
        kind = PLACE.sub("", NUMBERS.sub("N", bad.reason))
        self.unusable.setdefault(kind, Spotted()).add(bad.origin, f"{bad.reason}: {bad.raw}" if bad.raw else bad.reason)

    @property
    def num_unusable(self) -> int:
        return sum(spotted.count for spotted in self.unusable.values())

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What was seen."""
        return [*self._unusable(remedies), *self._types(), *self._missing()]

    def _unusable(self, remedies: Remedies) -> list[Finding]:
        total = self.num_unusable + self.rows
        is_refused = self.num_unusable > MOST_UNUSABLE * total
        found: list[Finding] = []
        for reason, spotted in self.unusable.items():
            says = (
                f"Training refuses a file with more than {MOST_UNUSABLE:.0%} of such rows"
                if is_refused
                else "Training leaves such rows out"
            )
            found += spotted.finding(
                "unusable-rows", "error" if is_refused else "warning", f"{{rows}} cannot be used: {reason}",
                advice=f"{says}. Mend them in the source, or take the others only.",
                command=remedies.clean(),
            )  # fmt: skip
        return found

    def _types(self) -> list[Finding]:
        found: list[Finding] = []
        for name, counted in self.kinds.items():
            kinds = {kind: count for kind, count in counted.items() if kind != "nothing"}
            usual = max(kinds, key=lambda kind: kinds[kind], default="")
            for kind in kinds:
                spotted = self.odd.get((name, kind))
                if kind == usual or spotted is None or kinds[usual] < USUAL * sum(kinds.values()):
                    continue
                found += spotted.finding(
                    "mixed-types", "warning", f"Column {name!r} holds {kind} in {{rows}}, elsewhere {usual}",
                    advice="One column should hold one type: numbers written in two ways are two answers to a model.",
                )  # fmt: skip
        return found

    def _missing(self) -> list[Finding]:
        found: list[Finding] = []
        for name, counted in self.kinds.items():
            filled = counted.total() - counted["nothing"]
            absent = self.rows - filled
            if absent and filled >= USUAL * self.rows and (name, "nothing") in self.odd:
                found += self.odd[name, "nothing"].finding(
                    "missing-values", "note", f"Column {name!r} is empty in {{rows}}, filled in all others",
                    advice="Look whether these rows lost a value on their way.",
                )  # fmt: skip
        return found
