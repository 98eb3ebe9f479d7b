"""Labels that are likely wrong: a plain classifier that never saw a row disagrees with its label, and is sure of it.

Letters: N rows, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.data.audit.classifier import cross_validated, fits, folds, labelled
from etude.data.audit.confident import likely_wrong
from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.labels import ANSWER, LabelTable, outcomes
from etude.data.audit.remedies import Remedies
from etude.data.audit.vectors import similarities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEIGHBOURS = 10
FOR_ONE_VOTE = 4
ROWS_AT_ONCE = 500
MANY = 0.02
"""The share of likely wrong labels from which on they are a warning."""


@dataclass(frozen=True)
class NoiseTable:
    """What cross-validation says of one outcome's labels."""

    name: str
    rows: int
    accuracy: float
    """How often the classifier gives the label that stands in the file."""
    guessing: float
    """How often the commonest label would."""
    likely_wrong: int
    is_conclusive: bool
    """Whether the classifier is good enough for its disagreement to mean something."""
    mixed: tuple[tuple[str, str, int], ...]
    """Pairs (given, found) that are confused most often."""


def label_noise(
    sample: Sequence[Example], vectors: Any, table: LabelTable, remedies: Remedies, *, seed: int
) -> tuple[NoiseTable | None, list[Finding]]:
    """Of one outcome; `vectors` [N, D] are the sample's inputs. None if there are too few rows to tell."""
    import numpy as np

    rows = labelled([dict(outcomes(one)).get(table.name) for one in sample])
    if rows is None:
        return None, []
    names, given, seen = rows.names, rows.given_N, vectors[rows.rows_N]
    fold = folds(given, seed=seed)
    checked = cross_validated(seen, given, fold, fits(seen, given, fold, len(names)))
    chances, found = checked.chances_NK, checked.found_N
    doubted = np.flatnonzero(likely_wrong(given, chances)) if checked.is_conclusive else given[:0]
    order = doubted[~supported(seen, given, found, doubted)]
    gain = chances[order, found[order]] - chances[order, given[order]]
    spotted = Spotted()
    for at in order[np.argsort(-gain, kind="stable")]:
        one = sample[rows.rows_N[at]]
        spotted.add(one.origin, f"{names[given[at]]}, or {names[found[at]]}? {one.question}")
    mixed = Counter((names[given[at]], names[found[at]]) for at in order)
    pairs = tuple((*pair, count) for pair, count in mixed.most_common(12))
    made = NoiseTable(
        table.name, len(given), checked.accuracy, checked.guessing, spotted.count, checked.is_conclusive, pairs
    )
    return made, _finding(made, spotted, remedies)


def supported(
    vectors: Any, given_N: NDArray[np.intp], found_N: NDArray[np.intp], doubted: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether the ten rows most like a doubted one speak for its label: then it is hard rather than wrong.

    Their votes weigh as much as they are alike; for the label they must be worth a fourth of those for the other one.
    """
    import numpy as np

    made = np.zeros(len(doubted), dtype=bool)
    for start in range(0, len(doubted), ROWS_AT_ONCE):
        rows = doubted[start : start + ROWS_AT_ONCE]
        alike = similarities(vectors, rows)
        alike[np.arange(len(rows)), rows] = -1
        nearest = np.argpartition(-alike, min(NEIGHBOURS, alike.shape[1] - 1), axis=1)[:, :NEIGHBOURS]
        weight = np.maximum(0, np.take_along_axis(alike, nearest, axis=1))
        votes, others = (
            (weight * (given_N[nearest] == label[rows][:, None])).sum(axis=1) for label in (given_N, found_N)
        )
        made[start : start + ROWS_AT_ONCE] = votes * FOR_ONE_VOTE > others
    return made


def _finding(table: NoiseTable, spotted: Spotted, remedies: Remedies) -> list[Finding]:
    what = "a label" if table.name == ANSWER else f"a {table.name!r}"
    return spotted.finding(
        "label-noise", "warning" if spotted.count >= MANY * table.rows else "note",
        f"{{rows}} likely have {what} that is wrong",
        advice=f"A classifier trained on the other rows (right in {table.accuracy:.0%} of {table.rows:,}) is confident "
        "of another label, and so are the rows most alike. Read the first ones, of which it is surest: mend what is "
        "wrong, keep what is only hard.",
        command=remedies.drop("label-noise"),
    )  # fmt: skip
