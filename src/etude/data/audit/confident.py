"""Which labels are likely wrong, by labels' probabilities alone: confident learning (https://arxiv.org/abs/1911.00068).

Letters: N rows, K labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Labels = NDArray[np.intp]

KEPT_PER_LABEL = 5
"""Rows of a label that are never called wrong together: a label is not argued away."""


def thresholds(given_N: Labels, chances_NK: Numbers) -> Numbers:
    """For each label how likely it is found, on average, in the rows that bear it."""
    import numpy as np

    num_labels = chances_NK.shape[1]
    sums = np.bincount(given_N, weights=chances_NK[np.arange(len(given_N)), given_N], minlength=num_labels)
    counts = np.bincount(given_N, minlength=num_labels)
    means: Numbers = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return means


def confident_joint(given_N: Labels, chances_NK: Numbers) -> NDArray[np.int64]:
    """counts[given, true]: rows that bear one label and are found, with confidence, to have another.

    Calibrated: each row of the table sums to the number of rows that bear the label.
    """
    import numpy as np

    num_labels = chances_NK.shape[1]
    sure = chances_NK >= thresholds(given_N, chances_NK) - 1e-6
    several = sure.sum(axis=1) > 1
    true = np.where(several, chances_NK.argmax(axis=1), sure.argmax(axis=1))
    known = sure.any(axis=1)
    joint = np.zeros((num_labels, num_labels))
    np.add.at(joint, (given_N[known], true[known]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    counts = np.bincount(given_N, minlength=num_labels)
    return _rounded(joint / joint.sum(axis=1, keepdims=True) * counts[:, None], counts)


def _rounded(table: Numbers, totals: Labels) -> NDArray[np.int64]:
    """Whole numbers near the table's with the given sums of rows: those furthest off give way."""
    import numpy as np

    whole = np.rint(table).astype(np.int64)
    for row, missing in enumerate((totals - whole.sum(axis=1)).tolist()):
        off = np.argsort(table[row] - whole[row], kind="stable")
        chosen = off[::-1][:missing] if missing > 0 else off[:-missing]
        whole[row, chosen] += np.sign(missing)
    return whole


def likely_wrong(given_N: Labels, chances_NK: Numbers) -> NDArray[np.bool_]:
    """Rows to be pruned "by noise rate": of each pair (given, true) as many as the joint counts, the clearest first."""
    import numpy as np

    joint = confident_joint(given_N, chances_NK)
    own = chances_NK[np.arange(len(given_N)), given_N]
    wrong = np.zeros(len(given_N), dtype=bool)
    for label, numbers in enumerate(joint):
        rows = np.flatnonzero(given_N == label)
        spare = len(rows) - KEPT_PER_LABEL
        others = numbers.copy()
        others[label] = 0
        if spare <= 0:
            continue
        if others.sum() > spare:
            others = others * spare // others.sum()
        for true in np.flatnonzero(others):
            margins = chances_NK[rows, true] - own[rows]
            wrong[rows[np.argsort(-margins, kind="stable")[: others[true]]]] = True
    wrong &= chances_NK.argmax(axis=1) != given_N
    return wrong
