"""What more rows would bring: a power law through the scores at several numbers of rows, and how far it can be trusted.

The share of items that are wrong is taken to fall as `rest + amount * rows ** -rate`, as learning curves mostly do
(https://arxiv.org/abs/1712.00409). All models were asked the same items, so items are drawn anew for all of them
together; the spread of what such draws predict is the uncertainty. It does not hold the chance of training: another
seed would give another curve.

Letters: S sizes, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 200
FEWEST_SIZES = 3
FLATTEST, STEEPEST, RATES = 0.02, 2.0, 100
"""The rates that are tried."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The score to be expected at a number of rows."""

    rows: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Measured scores, and those beyond."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    predicted: tuple[Predicted, ...]
    """Empty with fewer than three sizes: no curve can be drawn through two."""


def learning_curve(
    rows: Sequence[int], items: Sequence[Sequence[float]], ahead: Sequence[int], *, seed: int = 0
) -> LearningCurve:
    """`items[k]` are the scores, from 0 to 1, of all items by the model that learned from `rows[k]` rows.

    `ahead` are the numbers of rows to predict for.
    """
    import numpy as np

    scores = np.asarray(items, dtype=np.float64)
    means = tuple(float(one) for one in scores.mean(axis=1))
    if len(rows) < FEWEST_SIZES:
        return LearningCurve(tuple(rows), means, ())
    dice = np.random.default_rng(seed)
    places = dice.integers(0, scores.shape[1], size=(DRAWS, scores.shape[1]))
    drawn = np.stack([1 - scores[:, draw].mean(axis=1) for draw in places])
    sizes, wanted = np.asarray(rows, dtype=np.float64), np.asarray(ahead, dtype=np.float64)
    [best] = _predict(sizes, 1 - scores.mean(axis=1)[None], wanted)
    spread = _predict(sizes, drawn, wanted)
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    predicted = tuple(
        Predicted(int(n), float(1 - e), float(1 - max(h, e)), float(1 - min(one, e)))
        for n, e, one, h in zip(ahead, best, low, high, strict=True)
    )
    return LearningCurve(tuple(rows), means, predicted)


def _predict(
    sizes: NDArray[np.float64], errors_DS: NDArray[np.float64], ahead: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each draw the errors [D, …] that its best curve has at other sizes.

    For each rate of a grid, least squares in rest and amount, neither below 0; then the rate that fits best.
    """
    import numpy as np

    nearest = np.full(len(errors_DS), np.inf)
    made = np.zeros((len(errors_DS), len(ahead)))
    for rate in np.linspace(FLATTEST, STEEPEST, RATES):
        falls_S = (sizes / sizes[0]) ** -rate
        rest_D, amount_D = _least_squares(falls_S, errors_DS)
        distance_D = ((rest_D[:, None] + amount_D[:, None] * falls_S - errors_DS) ** 2).sum(axis=1)
        better = distance_D < nearest
        nearest[better] = distance_D[better]
        made[better] = (rest_D[:, None] + amount_D[:, None] * (ahead / sizes[0]) ** -rate)[better]
    return np.clip(made, 0, 1)


def _least_squares(
    falls_S: NDArray[np.float64], errors_DS: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rest, amount) of each draw, both at least 0: the free solution, or the better one on the edge."""
    import numpy as np

    centred_S = falls_S - falls_S.mean()
    amount = errors_DS @ centred_S / (centred_S @ centred_S)
    rest = errors_DS.mean(axis=1) - amount * falls_S.mean()
    only_amount = errors_DS @ falls_S / (falls_S @ falls_S)
    flat = amount < 0
    steep = (rest < 0) & ~flat
    return (
        np.where(flat, errors_DS.mean(axis=1), np.where(steep, 0.0, rest)),
        np.where(flat, 0.0, np.where(steep, only_amount, amount)),
    )
