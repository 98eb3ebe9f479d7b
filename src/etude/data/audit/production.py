"""What production asks and training lacks: its inputs beside the training rows'.

Letters: N training rows, M production rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.data.audit.coverage import Clusters, topic_words
from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Place, Spotted
from etude.data.audit.languages import UNKNOWN, language
from etude.data.audit.lengths import Spread, spread
from etude.data.audit.statistics import adjusted, differs, share_interval
from etude.data.audit.vectors import similarities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAR = 0.02
"""Training rows that are further from all others than this share of them set what counts as far."""
ROWS_AT_ONCE = 1_000
MATTERS = 0.02
EXAMPLES = 8


@dataclass(frozen=True)
class Compared:
    """One share of the training rows, and the same of the production rows."""

    name: str
    training: float
    production: float
    interval: tuple[float, float]
    """Of the production share."""
    p: float
    """Corrected for all that were compared."""
    differs: bool


@dataclass(frozen=True)
class ProductionTable:
    """Production beside training."""

    rows: int
    topics: tuple[Compared, ...]
    languages: tuple[Compared, ...]
    training_words: Spread
    production_words: Spread
    far: int
    """Production rows that are like no training row."""
    expected_far: float
    """How many would be if production were like training."""
    far_words: tuple[str, ...]
    """That tell those rows from the others."""
    examples: tuple[Place, ...]


def compare(
    training: Sequence[Example],
    production: Sequence[Example],
    vectors: NDArray[np.float32],
    clusters: Clusters,
    names: Sequence[str],
    *,
    false_alarms: float,
) -> tuple[ProductionTable, list[Finding]]:
    """`vectors` [N + M, D] are of training rows and production rows together; `names` are the topics'."""  # fmt: skip
    import numpy as np

    count = len(training)
    ours, theirs = vectors[:count], vectors[count:]
    closest = _closest(theirs, ours, itself=False)
    limit = float(np.quantile(_closest(ours, ours, itself=True), FAR))
    far = np.flatnonzero(closest < limit)
    spotted = Spotted()
    for at in far[np.argsort(closest[far], kind="stable")]:
        spotted.add(production[at].origin, production[at].question)
    nearest = similarities(theirs, slice(None), clusters.centres_CD).argmax(axis=1)
    is_far = np.zeros(len(production), dtype=np.intp)
    is_far[far] = 1
    words = topic_words([one.question for one in production], is_far)[-1] if 0 < len(far) < len(production) else ()
    table = ProductionTable(
        len(production),
        _compared(names, _counts(clusters.topic_N, names), _counts(nearest, names), false_alarms),
        _languages(training, production, false_alarms),
        spread(_words(training)), spread(_words(production)),
        len(far), FAR * len(production), words, _distinct(spotted.places),
    )  # fmt: skip
    return table, _findings(table, spotted)


def _distinct(places: Sequence[Place]) -> tuple[Place, ...]:
    """The first ones that do not read the same."""
    return tuple({place.shown.casefold(): place for place in reversed(places)}.values())[::-1][:EXAMPLES]


def _closest(rows: NDArray[np.float32], others: NDArray[np.float32], *, itself: bool) -> NDArray[np.float32]:
    """How like each row its most alike other is."""
    import numpy as np

    found = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        alike = similarities(rows, slice(start, start + ROWS_AT_ONCE), others)
        if itself:
            alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = -1
        found[start : start + ROWS_AT_ONCE] = alike.max(axis=1)
    return found


def _counts(topic: NDArray[np.intp], names: Sequence[str]) -> NDArray[np.intp]:
    import numpy as np

    return np.bincount(topic, minlength=len(names))


def _words(rows: Sequence[Example]) -> list[int]:
    return [len(one.question.split()) for one in rows]


def _languages(training: Sequence[Example], production: Sequence[Example], false_alarms: float) -> tuple[Compared, ...]:
    import numpy as np

    told = [[language(one.question) for one in rows] for rows in (training, production)]
    names = sorted({name for each in told for name in each if name != UNKNOWN})
    ours, theirs = (np.array([each.count(name) for name in names], dtype=np.intp) for each in told)
    return _compared(names, ours, theirs, false_alarms) if names and ours.sum() and theirs.sum() else ()


def _compared(
    names: Sequence[str], ours: NDArray[np.intp], theirs: NDArray[np.intp], false_alarms: float
) -> tuple[Compared, ...]:
    n, m = int(ours.sum()), int(theirs.sum())
    pairs = list(zip(ours.tolist(), theirs.tolist(), strict=True))
    p_values = adjusted([differs(b, m, a, n) for a, b in pairs])
    made = [
        Compared(
            name, a / n, b / m, share_interval(b, m), p, p <= false_alarms and abs(a / n - b / m) >= MATTERS
        )
        for name, (a, b), p in zip(names, pairs, p_values, strict=True)
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda one: -(one.production - one.training)))


def _findings(table: ProductionTable, far: Spotted) -> list[Finding]:
    lacking = [one for one in table.topics if one.differs and one.production > one.training]
    foreign = [one for one in table.languages if one.differs and one.production > one.training]
    found: list[Finding] = []
    if table.far > 2 * table.expected_far + 3:
        found += far.finding(
            "uncovered-inputs", "warning", "{rows} of production are like no training row",
            advice=f"About {table.expected_far:.0f} would be if both were alike. Label some and add them to training"
            + (f" (they speak of {', '.join(table.far_words)})." if table.far_words else "."),
        )  # fmt: skip
    for check, what, ones in (("topic-drift", "Topics", lacking), ("language-drift", "Languages", foreign)):
        if ones:
            listed = "; ".join(f"{one.name} ({one.production:.0%}, in training {one.training:.0%})" for one in ones[:4])
            rows = round(sum(one.production for one in ones) * table.rows)
            found.append(Finding(
                check, "warning", f"{what} that are commoner in production: {listed}", rows, (),
                "Collect training rows where traffic is, or weight the sources accordingly.",
            ))  # fmt: skip
    return found
