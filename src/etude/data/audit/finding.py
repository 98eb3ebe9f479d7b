"""What an audit says: findings with a severity, the rows they stand on, and the command that mends them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from etude.records import Origin

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the worst on. An error spoils training; a warning is worth mending; a note is worth knowing."""
MOST_PLACES = 100_000
LONGEST_SHOWN = 240
SUBJECT = re.compile(r"\{rows\}(?P<between> (?:likely )?)(?P<verb>(?!in\b|together\b)[a-z]+)")
SINGULAR = {"have": "has", "are": "is", "cannot": "cannot", "of": "of", "seem": "seems"}


@dataclass(frozen=True, slots=True)
class Place:
    """A row, and what was found in it."""

    origin: Origin
    shown: str
    """A short piece of the row, or what is known of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    check: str
    """Its name, the same in every version: `label-noise`."""
    severity: Severity
    title: str
    """What was found, in a sentence with its numbers."""
    rows: int
    """How many rows it concerns."""
    places: tuple[Place, ...]
    """Those rows, in their order (or the worst first, where `advice` says so); at most 100,000 of them."""
    advice: str
    """Why it matters and what to do."""
    command: str = ""
    """What mends it, ready to run; empty where only a person can."""

    @property
    def all_places(self) -> bool:
        """Whether every row that it concerns is named."""
        return len(self.places) == self.rows


@dataclass
class Spotted:
    """Rows in which something was seen, gathered as they pass."""

    count: int = 0
    places: list[Place] = field(default_factory=list)
    most: int = MOST_PLACES
    """How many rows to remember."""

    def add(self, origin: Origin, shown: str) -> None:
        """One more row."""
        self.count += 1
        if len(self.places) < self.most:
            self.places.append(Place(origin, excerpt(shown)))

    def finding(self, check: str, severity: Severity, title: str, *, advice: str, command: str = "") -> list[Finding]:
        """The finding, in which `{rows}` stands for "1 row" or "12 rows"; none if nothing was seen."""
        if not self.count:
            return []
        written = _agreeing(title) if self.count == 1 else title.replace("{rows}", num_rows(self.count))
        return [Finding(check, severity, written, self.count, tuple(self.places), advice, command)]


def _agreeing(title: str) -> str:
    """The title for one row: `{rows} have` becomes `1 row has`."""

    def alone(found: re.Match[str]) -> str:
        verb = found["verb"]
        return f"1 row{found['between']}{SINGULAR.get(verb) or f'{verb}s'}"

    return SUBJECT.sub(alone, title).replace("{rows}", num_rows(1))


def num_rows(count: int) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def excerpt(text: str, most: int = LONGEST_SHOWN) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By severity, and within one by how many rows they concern."""
    return tuple(sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), -found.rows)))
