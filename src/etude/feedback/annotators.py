"""What is particular about one person's judgements: sides, lengths, grades, disagreement; each with its uncertainty."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from etude.comparison.judgement import step_down
from etude.evaluation.intervals import bootstrap_ratio, wilson
from etude.feedback.agreement import Units, last_said
from etude.feedback.judgements import Choice, Grade, Messages

ALPHA = 0.05
Name = Literal["first_shown", "longer", "against_the_others", "leniency", "same_again"]
NAMES: Mapping[Name, str] = {
    "first_shown": "took the answer shown first",
    "longer": "took the longer answer",
    "against_the_others": "differed from most others",
    "leniency": "graded higher than the others",
    "same_again": "said the same of an item again",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A share, or a mean difference of grades, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    expected: float | None
    """What it would be without anything particular; None: nothing is expected."""
    p_value: float | None
    """For being as expected, Holm-corrected over all annotators of the measure."""

    @property
    def is_odd(self) -> bool:
        """Whether it differs from what is expected by more than chance explains."""
        return self.p_value is not None and self.p_value < ALPHA


@dataclass(frozen=True, slots=True)
class Annotator:
    """One person."""

    name: str
    judgements: int
    ties: int
    measures: Mapping[Name, Measure]
    seconds: float | None
    """Median a judgement."""


def annotators(choices: Sequence[Choice], grades: Sequence[Grade]) -> list[Annotator]:
    """Everybody, by name, with the measures that his judgements allow.

    Sides are compared with one half (exact binomial test), length and disagreement with the person in the middle of the
    others (Fisher's exact test; disagreement only where there is more of it), grades with the others' median of the
    same items (bootstrap). The middle, so that one odd person does not make the others look odd.
    """
    everything: list[Choice | Grade] = [*choices, *grades]
    names = sorted({one.annotator for one in everything})
    measured: dict[Name, dict[str, Measure]] = {
        "first_shown": _shares(_first_shown(choices), _half),
        "longer": _shares(_longer(choices), _middle),
        "against_the_others": _shares(_against(choices, grades), _more_than_middle),
        "leniency": _leniency(grades),
        "same_again": _shares(_again(everything), lambda own, others: (None, None)),
    }
    corrected = {name: _corrected(found) for name, found in measured.items()}
    made = Counter(one.annotator for one in everything)
    ties = Counter(one.annotator for one in choices if not one.vote)
    times: dict[str, list[float]] = defaultdict(list)
    for one in everything:
        if one.seconds is not None:
            times[one.annotator].append(one.seconds)
    return [
        Annotator(
            name, made[name], ties[name], {key: found[name] for key, found in corrected.items() if name in found},
            median(times[name]) if times[name] else None,
        )
        for name in names
    ]  # fmt: skip


Told = Mapping[str, Sequence[bool]]
"""Annotator → what held of each of his judgements."""


def _first_shown(choices: Iterable[Choice]) -> Told:
    return _by_name((one.annotator, one.vote == one.seen_first) for one in choices if one.vote and one.seen_first)


def _longer(choices: Iterable[Choice]) -> Told:
    told = []
    for one in choices:
        longer = _length(one.first) - _length(one.second)
        if one.vote and longer:
            told.append((one.annotator, (one.vote > 0) == (longer > 0)))
    return _by_name(told)


def _length(messages: Messages) -> int:
    return sum(len(message.text) for message in messages)


def _against(choices: Iterable[Choice], grades: Iterable[Grade]) -> Told:
    """Whether each vote or thumb is against what most others said of the item; where they are divided it counts not."""
    told = []
    for units in (votes(choices), thumbs(grades)):
        for said in units.values():
            total = sum(said.values())
            told += [(name, value * (total - value) < 0) for name, value in said.items() if value and total != value]
    return _by_name(told)


def _again(everything: Iterable[Choice | Grade]) -> Told:
    """Whether what was said of an item at the second and later times is what was said the time before."""
    before: dict[tuple[str, str], float] = {}
    told = []
    for one in everything:
        place, value = (one.annotator, one.key), one.vote if isinstance(one, Choice) else one.grade
        if place in before:
            told.append((one.annotator, before[place] == value))
        before[place] = value
    return _by_name(told)


def _by_name(told: Iterable[tuple[str, bool]]) -> Told:
    found: dict[str, list[bool]] = defaultdict(list)
    for name, held in told:
        found[name].append(held)
    return found


Usual = Callable[[Sequence[bool], Sequence[Sequence[bool]]], tuple[float | None, float | None]]
"""From one person's judgements and the others': (the usual share, p-value of the own one)."""


def _shares(told: Told, usual: Usual) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for name, own in told.items():
        low, high = wilson(sum(own), len(own))
        expected, p_value = usual(own, [each for other, each in told.items() if other != name])
        found[name] = Measure(fmean(own), low, high, len(own), expected, p_value)
    return found


def _half(own: Sequence[bool], others: Sequence[Sequence[bool]]) -> tuple[float | None, float | None]:
    from scipy.stats import binomtest

    return 0.5, float(binomtest(sum(own), len(own), 0.5).pvalue)


def _middle(
    own: Sequence[bool], others: Sequence[Sequence[bool]], *, alternative: str = "two-sided"
) -> tuple[float | None, float | None]:
    from scipy.stats import fisher_exact

    if not others:
        return None, None
    ordered = sorted(others, key=fmean)
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    nearest = min(middle, key=lambda each: abs(fmean(each) - fmean(own)))
    table = [[sum(each), len(each) - sum(each)] for each in (own, nearest)]
    return fmean(nearest), float(fisher_exact(table, alternative=alternative).pvalue)


def _more_than_middle(own: Sequence[bool], others: Sequence[Sequence[bool]]) -> tuple[float | None, float | None]:
    return _middle(own, others, alternative="greater")


def _leniency(grades: Sequence[Grade]) -> dict[str, Measure]:
    """How much higher each grades than the others' median of the same item."""
    units = last_said((one.key, one.annotator, one.grade) for one in grades)
    above: dict[str, list[float]] = defaultdict(list)
    for said in units.values():
        for name, value in said.items():
            others = [other for key, other in said.items() if key != name]
            if others:
                above[name].append(value - median(others))
    found = {}
    for name, each in above.items():
        if len(each) > 1:
            drawn = bootstrap_ratio(each)
            low, high = drawn.interval(1 - ALPHA)
            found[name] = Measure(drawn.estimate, low, high, len(each), 0.0, drawn.p_value())
    return found


def _corrected(found: Mapping[str, Measure]) -> dict[str, Measure]:
    tested = {name: one for name, one in found.items() if one.p_value is not None and not math.isnan(one.p_value)}
    judged = step_down([(one.p_value or 0.0,) for one in tested.values()], ALPHA)
    values = {name: one.adjusted for name, one in zip(tested, judged, strict=True)}
    return {
        name: Measure(one.value, one.low, one.high, one.n, one.expected, values.get(name))
        for name, one in found.items()
    }


def votes(choices: Iterable[Choice]) -> Units:
    """Pair → annotator → 1, -1 or 0."""
    return last_said((one.key, one.annotator, float(one.vote)) for one in choices)


def thumbs(grades: Iterable[Grade]) -> Units:
    """Answer → annotator → 1 or -1."""
    return last_said((one.key, one.annotator, one.grade) for one in grades if one.is_thumb)


def ratings(grades: Iterable[Grade]) -> Units:
    """Answer → annotator → what it was rated."""
    return last_said((one.key, one.annotator, one.grade) for one in grades if not one.is_thumb)
