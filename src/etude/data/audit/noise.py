"""Labels that are likely wrong: a plain classifier that never saw a row disagrees with its label, and is sure of it.

Letters: N rows, D features, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.data.audit.confident import likely_wrong
from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.labels import ANSWER, LabelTable, outcomes
from etude.data.audit.remedies import Remedies
from etude.data.audit.vectors import similarities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDS = 5
RIDGE = 1.0
MOST_ITERATIONS = 12
ENOUGH = 1e-6
FEWEST_ROWS = 60
FEWEST_OF_A_LABEL = 8
NEIGHBOURS = 10
FOR_ONE_VOTE = 4
ROWS_AT_ONCE = 500
BETTER_THAN_GUESSING = 0.15
"""By how much of the way from guessing the commonest label to being always right the classifier has to be better."""
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

    values = [dict(outcomes(one)).get(table.name) for one in sample]
    frequent = {label for label, count in _counted(values).items() if count >= FEWEST_OF_A_LABEL}
    rows = np.array([at for at, value in enumerate(values) if value in frequent], dtype=np.intp)
    if len(rows) < FEWEST_ROWS or len(frequent) < 2:
        return None, []
    names = sorted(frequent)
    number = {label: at for at, label in enumerate(names)}
    given = np.array([number[str(values[at])] for at in rows], dtype=np.intp)
    chances = cross_validated(vectors[rows], given, len(names), seed=seed)
    found = chances.argmax(axis=1)
    accuracy = float((found == given).mean())
    guessing = float(np.bincount(given).max() / len(given))
    conclusive = accuracy >= guessing + BETTER_THAN_GUESSING * (1 - guessing)
    doubted = np.flatnonzero(likely_wrong(given, chances)) if conclusive else rows[:0]
    order = doubted[~supported(vectors[rows], given, found, doubted)]
    gain = chances[order, found[order]] - chances[order, given[order]]
    spotted = Spotted()
    for at in order[np.argsort(-gain, kind="stable")]:
        one = sample[rows[at]]
        spotted.add(one.origin, f"{names[given[at]]}, or {names[found[at]]}? {one.question}")
    pairs = _counted([(names[given[at]], names[found[at]]) for at in order])
    mixed = sorted(((*pair, count) for pair, count in pairs.items()), key=lambda item: -item[2])[:12]
    made = NoiseTable(table.name, len(given), accuracy, guessing, spotted.count, conclusive, tuple(mixed))
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


def _counted(values: Sequence[Any]) -> dict[Any, int]:
    counted: dict[Any, int] = {}
    for value in values:
        if value is not None:
            counted[value] = counted.get(value, 0) + 1
    return counted


def cross_validated(vectors: Any, given_N: NDArray[np.intp], num_labels: int, *, seed: int) -> NDArray[np.float64]:
    """Each row's chance of each label [N, K], from a classifier that was fitted without that row's fifth."""
    import numpy as np

    targets = np.zeros((len(given_N), num_labels), dtype=np.float32)
    targets[np.arange(len(given_N)), given_N] = 1
    fold = folds(given_N, seed=seed)
    scores = np.zeros((len(given_N), num_labels))
    for held in range(FOLDS):
        seen = fold != held
        mean = targets[seen].mean(axis=0)
        weights = ridge(vectors[seen], targets[seen] - mean)
        scores[~seen] = vectors[~seen] @ weights + mean
    return _chances(scores, given_N)


def folds(given_N: NDArray[np.intp], *, seed: int) -> NDArray[np.intp]:
    """Which fold each row is in; every label is spread evenly over them."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(len(given_N))
    order = shuffled[np.argsort(given_N[shuffled], kind="stable")]
    fold = np.empty(len(given_N), dtype=np.intp)
    fold[order] = np.arange(len(given_N)) % FOLDS
    return fold


def ridge(vectors: Any, targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights [D, K] of a ridge regression, each column by conjugate gradients; `vectors` may be sparse."""
    import numpy as np

    residual = vectors.T @ targets
    weights = np.zeros_like(residual)
    direction = residual.copy()
    size = (residual * residual).sum(axis=0)
    for _ in range(MOST_ITERATIONS):
        pushed = vectors.T @ (vectors @ direction) + RIDGE * direction
        step = size / np.maximum((direction * pushed).sum(axis=0), 1e-12)
        weights += step * direction
        residual -= step * pushed
        before, size = size, (residual * residual).sum(axis=0)
        if size.max() < ENOUGH:
            break
        direction = residual + (size / np.maximum(before, 1e-12)) * direction
    made: NDArray[np.float32] = weights
    return made


def _chances(scores: NDArray[np.float64], given_N: NDArray[np.intp]) -> NDArray[np.float64]:
    """Scores as probabilities: a softmax as sharp as suits the labels best (https://arxiv.org/abs/1706.04599)."""
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, softmax

    rows = np.arange(len(given_N))

    def loss(log_sharpness: float) -> float:
        return float(-log_softmax(scores * np.exp(log_sharpness), axis=1)[rows, given_N].mean())

    sharpest = minimize_scalar(loss, bounds=(-2.0, 6.0), method="bounded").x
    chances: NDArray[np.float64] = softmax(scores * np.exp(sharpest), axis=1)
    return chances
