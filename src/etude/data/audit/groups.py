"""Whether labels, refusals or judgements depend on the group a row belongs to: rates with their intervals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.labels import outcomes
from etude.data.audit.statistics import adjusted, differs, share_interval
from etude.errors import DataError

NAMES = frozenset((
    "gender", "sex", "race", "ethnicity", "age", "age_group", "agegroup", "age_band", "country", "region",
    "nationality", "religion", "dialect", "disability", "locale", "customer_group", "segment", "income_group",
    "marital_status", "citizenship", "pronouns", "orientation", "veteran",
))  # fmt: skip
WOMEN = frozenset((
    "she", "her", "hers", "herself", "woman", "women", "girl", "girls", "lady", "ladies", "female", "females",
    "mrs", "ms",
))  # fmt: skip
MEN = frozenset((
    "he", "him", "his", "himself", "man", "men", "boy", "boys", "gentleman", "gentlemen", "male", "males",
    "mr",
))  # fmt: skip
WORDED = "words for women or men"
WORD = re.compile(r"[a-z]+")
MOST_VALUES = 20
MOST_OUTCOMES = 40
FEWEST = 20
MATTERS = 0.05
"""A difference below five points is not reported, however sure."""
REFUSAL = re.compile(
    r"\bI(?:['’]m| am)? (?:sorry|unable|not able|can(?:['’]t|not)|won['’]t)\b"
    r"|\b(?:can(?:['’]t|not)|unable to) (?:help|assist|answer|do that|provide)\b",
    re.IGNORECASE,
)
REFUSES = "refuses"
SHOWN = 200


@dataclass(frozen=True)
class Rate:
    """How often one outcome has one value in one group, and elsewhere."""

    attribute: str
    group: str
    outcome: str
    value: str
    hits: int
    rows: int
    interval: tuple[float, float]
    other_hits: int
    other_rows: int
    p: float
    """That there is no difference, corrected for all differences that were looked at."""
    stands_out: bool

    @property
    def share(self) -> float:
        return self.hits / self.rows

    @property
    def other_share(self) -> float:
        return self.other_hits / self.other_rows


@dataclass(frozen=True)
class BiasTable:
    """All rates that could be compared, those that stand out first."""

    attributes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    """Each attribute with its groups and their rows."""
    rates: tuple[Rate, ...]
    num_tests: int


@dataclass
class Groups:
    """Counts outcomes by group as rows pass."""

    asked: tuple[str, ...]
    """Columns to take for attributes; empty: those whose names say so, and words."""
    counts: dict[str, dict[str, Counter[tuple[str, str]]]] = field(default_factory=dict)
    """attribute → group → (outcome, value) → rows."""
    sizes: dict[str, Counter[str]] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    _places: dict[tuple[str, str, str, str], Spotted] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)

    def take(self, one: Example) -> None:
        """One more row."""
        held = list(self._attributes(one))
        if not held:
            return
        found = list(outcomes(one))
        if one.answer and not found:
            found = [(REFUSES, "yes" if REFUSAL.search(one.answer[:400]) else "no")]
        for attribute, group in held:
            sizes = self.sizes.setdefault(attribute, Counter())
            sizes[group] += 1
            if len(sizes) > MOST_VALUES and attribute not in self.asked:
                self._given_up.add(attribute)
                del self.sizes[attribute]
                self.counts.pop(attribute, None)
                continue
            self.counts.setdefault(attribute, {}).setdefault(group, Counter()).update(found)
            for outcome, value in found:
                self._places.setdefault((attribute, group, outcome, value), Spotted(most=SHOWN)).add(
                    one.origin, one.question
                )

    def _attributes(self, one: Example) -> Iterator[tuple[str, str]]:
        self.columns.update(one.columns)
        for name in self.asked or (name for name in one.columns if name.casefold() in NAMES):
            value = one.columns.get(name)
            if isinstance(value, str | int | bool) and value != "" and name not in self._given_up:
                yield name, str(value)
        if not self.asked:
            words = set(WORD.findall(one.question.casefold()))
            women, men = bool(words & WOMEN), bool(words & MEN)
            if women != men:
                yield WORDED, "women" if women else "men"

    def finish(self, false_alarms: float) -> BiasTable | None:
        """The table; None if there are no groups to compare. DataError for an asked column that no row has."""
        missing = [name for name in self.asked if name not in self.columns]
        if missing:
            raise DataError(
                f"no column {missing[0]!r}", where="groups", remedy=f"the columns are {', '.join(sorted(self.columns))}"
            )
        made = [rate for attribute in self.counts for rate in self._rates(attribute)]
        if not made:
            return None
        corrected = adjusted([rate.p for rate in made])
        rates = [_judged(rate, p, false_alarms) for rate, p in zip(made, corrected, strict=True)]
        rates.sort(key=lambda rate: (not rate.stands_out, rate.p, -abs(rate.share - rate.other_share)))
        named = tuple((name, tuple(sizes.most_common())) for name, sizes in self.sizes.items())
        return BiasTable(named, tuple(rates), len(rates))

    def _rates(self, attribute: str) -> Iterator[Rate]:
        groups = {name: count for name, count in self.sizes[attribute].items() if count >= FEWEST}
        if len(groups) < 2:
            return
        totals: Counter[tuple[str, str]] = Counter()
        for group in groups:
            totals.update(self.counts[attribute][group])
        by_outcome = Counter(outcome for outcome, _ in totals)
        for (outcome, value), total in totals.items():
            if by_outcome[outcome] > MOST_OUTCOMES or total < FEWEST // 2 or (outcome == REFUSES and value == "no"):
                continue
            for group, rows in groups.items():
                hits = self.counts[attribute][group][outcome, value]
                others = sum(groups.values()) - rows
                p = differs(hits, rows, total - hits, others)
                yield Rate(
                    attribute,
                    group,
                    outcome,
                    value,
                    hits,
                    rows,
                    share_interval(hits, rows),
                    total - hits,
                    others,
                    p,
                    False,
                )

    def findings(self, table: BiasTable) -> list[Finding]:
        """Those that stand out, one for each attribute."""
        found: list[Finding] = []
        for attribute, _ in table.attributes:
            rates = [rate for rate in table.rates if rate.stands_out and rate.attribute == attribute]
            if not rates:
                continue
            spotted = Spotted()
            for rate in rates:
                places = self._places.get((attribute, rate.group, rate.outcome, rate.value), Spotted())
                spotted.count += places.count - len(places.places)
                for place in places.places:
                    spotted.add(place.origin, f"{rate.group}, {rate.value}: {place.shown}")
            first = rates[0]
            found += spotted.finding(
                "group-skew", "note" if attribute == WORDED else "warning",
                f"{attribute}: {len(rates)} rates differ between groups, most surely {first.value!r} for {first.group} "
                f"({first.share:.0%}, others {first.other_share:.0%})",
                advice="A model learns such a link, wanted or not. If it is not in the nature of the task, balance the "
                "groups with more rows of the others. A link is no cause: see what else tells the groups apart.",
            )  # fmt: skip
        return found


def _judged(rate: Rate, p: float, false_alarms: float) -> Rate:
    stands_out = p <= false_alarms and abs(rate.share - rate.other_share) >= MATTERS
    return replace(rate, p=p, stands_out=stands_out)
