"""A plain classifier of labels, cross-validated: what it says of a row comes from the other rows alone.

Letters: N rows, D features, K labels, M texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Labels = NDArray[np.intp]

FOLDS = 5
RIDGE = 1.0
MOST_ITERATIONS = 12
ENOUGH = 1e-6
FEWEST_ROWS = 60
FEWEST_OF_A_LABEL = 8
BETTER_THAN_GUESSING = 0.15
"""By how much of the way from guessing the commonest label to being always right the classifier has to be better."""


@dataclass(frozen=True)
class Labelled:
    """The rows whose label is frequent enough to be learned."""

    names: tuple[str, ...]
    rows_N: Labels
    """Their places among all rows."""
    given_N: Labels
    """The numbers of their labels."""


def labelled(values: Sequence[str | None]) -> Labelled | None:
    """Rows by their labels (None: it has none); None where there are too few of them to learn from."""
    import numpy as np

    counted = Counter(value for value in values if value is not None)
    names = tuple(sorted(label for label, count in counted.items() if count >= FEWEST_OF_A_LABEL))
    number = {label: at for at, label in enumerate(names)}
    rows = [at for at, value in enumerate(values) if value in number]
    if len(rows) < FEWEST_ROWS or len(names) < 2:
        return None
    given = [number[str(values[at])] for at in rows]
    return Labelled(names, np.array(rows, dtype=np.intp), np.array(given, dtype=np.intp))


@dataclass(frozen=True)
class Fitted:
    """A classifier that saw all folds but one."""

    weights_DK: NDArray[np.float32]
    mean_K: NDArray[np.float32]

    def scores(self, vectors_MD: Any) -> Numbers:
        """How much speaks for each label [M, K]."""
        found: Numbers = vectors_MD @ self.weights_DK + self.mean_K
        return found


def folds(given_N: Labels, *, seed: int) -> Labels:
    """Which fold each row is in; every label is spread evenly over them."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(len(given_N))
    order = shuffled[np.argsort(given_N[shuffled], kind="stable")]
    fold = np.empty(len(given_N), dtype=np.intp)
    fold[order] = np.arange(len(given_N)) % FOLDS
    return fold


def fits(vectors_ND: Any, given_N: Labels, fold_N: Labels, num_labels: int) -> Iterator[Fitted]:
    """For each fold the classifier that never saw it."""
    import numpy as np

    targets = np.zeros((len(given_N), num_labels), dtype=np.float32)
    targets[np.arange(len(given_N)), given_N] = 1
    for held in range(FOLDS):
        seen = fold_N != held
        mean = targets[seen].mean(axis=0)
        yield Fitted(ridge(vectors_ND[seen], targets[seen] - mean), mean)


@dataclass(frozen=True)
class CrossValidated:
    """What the classifiers say of rows that they never saw."""

    given_N: Labels
    scores_NK: Numbers
    """Logarithms of the labels' odds, as sharp as suits the labels best (https://arxiv.org/abs/1706.04599)."""
    sharpness: float
    """What a classifier's scores are multiplied by to become such."""

    @cached_property
    def chances_NK(self) -> Numbers:
        """How likely each label is."""
        from scipy.special import softmax

        found: Numbers = softmax(self.scores_NK, axis=1)
        return found

    @property
    def found_N(self) -> Labels:
        """The likeliest label."""
        found: Labels = self.scores_NK.argmax(axis=1)
        return found

    @property
    def accuracy(self) -> float:
        """How often that is the label that the row bears."""
        return float((self.found_N == self.given_N).mean())

    @property
    def guessing(self) -> float:
        """How often the commonest label would be right."""
        import numpy as np

        return float(np.bincount(self.given_N).max() / len(self.given_N))

    @property
    def is_conclusive(self) -> bool:
        """Whether the classifiers are good enough for their disagreement to mean something."""
        return self.accuracy >= self.guessing + BETTER_THAN_GUESSING * (1 - self.guessing)


def cross_validated(vectors_ND: Any, given_N: Labels, fold_N: Labels, fitted: Iterable[Fitted]) -> CrossValidated:
    """Each row's chance of each label, by the classifier that was fitted without its fold."""
    import numpy as np

    parts = []
    for held, one in enumerate(fitted):
        rows = np.flatnonzero(fold_N == held)
        parts.append((rows, one.scores(vectors_ND[rows])))
    scores = np.zeros((len(given_N), parts[0][1].shape[1]))
    for rows, found in parts:
        scores[rows] = found
    sharpness = _sharpness(scores, given_N)
    return CrossValidated(given_N, scores * sharpness, sharpness)


def _sharpness(scores: Numbers, given_N: Labels) -> float:
    """What makes the labels likeliest, each of them doubted a little, as Platt does: else classifiers that are always
    right would be endlessly sure."""
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows, doubt = np.arange(len(given_N)), 1 / (len(given_N) + 2)

    def loss(log_sharpness: float) -> float:
        logs_NK = log_softmax(scores * np.exp(log_sharpness), axis=1)
        given = logs_NK[rows, given_N]
        others = (logs_NK.sum(axis=1) - given) / (scores.shape[1] - 1)
        return float(-((1 - doubt) * given + doubt * others).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 6.0), method="bounded").x))


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
