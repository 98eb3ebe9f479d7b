"""The annotators behind a set of judgements on one HTML page: what stands out, agreement, everybody's habits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from etude.feedback.agreement import Alpha
from etude.feedback.annotators import NAMES, Annotator, Measure, Name
from etude.feedback.report import Part, Report
from etude.pages.report import environment_of_pages
from etude.pages.wording import duration, percent, signed

MOST_PAIRS = 60


@dataclass(frozen=True)
class Bar:
    """A number and its interval on a line; places in percent of its width."""

    point: float
    low: float
    width: float
    usual: float | None
    said: str
    is_odd: bool = False


@dataclass(frozen=True)
class AlphaRow:
    """Agreement of one kind of judgement at one level."""

    name: str
    level: str
    number: str
    items: str
    shared: str
    bar: Bar | None


@dataclass(frozen=True)
class Person:
    """One annotator."""

    name: str
    judged: str
    ties: str
    seconds: str
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True)
class PairRow:
    """Two annotators."""

    part: str
    one: str
    other: str
    items: str
    bar: Bar


def page(found: Report, *, sources: Sequence[str]) -> str:
    """The page's HTML, without a network. Names and files are escaped, their control characters written out."""
    shown = tuple(name for name in NAMES if any(name in one.measures for one in found.annotators))
    pairs = [row for part in found.parts for row in _pairs(part)]
    judged = sum(part.judgements for part in found.parts)
    people = f"{len(found.annotators):,} people" if len(found.annotators) > 1 else found.annotators[0].name
    template = environment_of_pages().get_template("agreement.html.jinja")
    return template.render(
        title=f"{judged:,} judgements by {people}",
        about=", ".join(sources),
        sentences=found.sentences(),
        agreement=[row for part in found.parts for row in _alphas(part)],
        measures=[NAMES[name] for name in shown],
        people=[_person(one, shown, found.annotators) for one in found.annotators],
        pairs=pairs[:MOST_PAIRS],
        more_pairs=max(0, len(pairs) - MOST_PAIRS),
    )


def _alphas(part: Part) -> list[AlphaRow]:
    counts = (f"{part.judgements:,}", f"{part.items:,}", f"{part.shared_items:,}")
    if not part.alphas:
        return [AlphaRow(part.name, "", *counts, None)]
    return [AlphaRow(part.name, alpha.level, *counts, _alpha_bar(alpha)) for alpha in part.alphas]


def _alpha_bar(alpha: Alpha) -> Bar:
    """From -1 to 1, with 0, what chance gives, as the usual place."""
    if math.isinf(alpha.low):
        return _bar(alpha.value, alpha.value, alpha.value, 0.0, (-1.0, 1.0), signed(f"{alpha.value:.2f} (one item)"))
    said = signed(f"{alpha.value:.2f} ({alpha.low:.2f} to {alpha.high:.2f})")
    return _bar(alpha.value, alpha.low, alpha.high, 0.0, (-1.0, 1.0), said)


def _person(one: Annotator, shown: Sequence[Name], everybody: Sequence[Annotator]) -> Person:
    seconds = "" if one.seconds is None else duration(one.seconds)
    bars = tuple(_measure(name, one.measures[name], everybody) if name in one.measures else None for name in shown)
    return Person(one.name, f"{one.judgements:,}", f"{one.ties:,}", seconds, bars)


def _measure(name: Name, measure: Measure, everybody: Sequence[Annotator]) -> Bar:
    if name != "leniency":
        between = f"{percent(measure.low, 0)} to {percent(measure.high, 0)}"
        said = f"{percent(measure.value, 0)} ({between}), n {measure.n:,}"
        return _bar(measure.value, measure.low, measure.high, measure.expected, (0.0, 1.0), said, measure.is_odd)
    others = [one.measures[name] for one in everybody if name in one.measures]
    most = max(*(abs(end) for one in others for end in (one.low, one.high)), 1e-9)
    said = signed(f"{measure.value:+.2f} ({measure.low:+.2f} to {measure.high:+.2f}), n {measure.n:,}")
    return _bar(measure.value, measure.low, measure.high, 0.0, (-most, most), said, measure.is_odd)


def _pairs(part: Part) -> list[PairRow]:
    rows = []
    for pair in part.agreements:
        said = f"{percent(pair.share, 0)} ({percent(pair.low, 0)} to {percent(pair.high, 0)})"
        bar = _bar(pair.share, pair.low, pair.high, None, (0.0, 1.0), said)
        rows.append(PairRow(part.name, pair.one, pair.other, f"{pair.items:,}", bar))
    return rows


def _bar(
    value: float,
    low: float,
    high: float,
    usual: float | None,
    ends: tuple[float, float],
    said: str,
    is_odd: bool = False,
) -> Bar:
    def place(number: float) -> float:
        return round(100 * min(max((number - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0), 2)

    width = round(place(high) - place(low), 2)
    return Bar(place(value), place(low), width, None if usual is None else place(usual), said, is_odd)
