"""Which records are nearly copies of one another, prompt and answer: what a split must not part, or has parted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from etude.data.inputs import OnProgress
from etude.data.near import TextTaker
from etude.data.sides import sides
from etude.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray


def near_pairs(records: Sequence[Record], threshold: float, on_progress: OnProgress | None = None) -> NDArray[np.int64]:
    """pairs_X2 of places of records that are at least so alike; of equal ones only one is looked at."""
    return _taken(threshold, on_progress, records).finish().pairs(threshold)


def num_known(train: Sequence[Record], heldout: Sequence[Record], threshold: float) -> int:
    """How many held-out records are at least so alike to a training record."""
    texts = _taken(threshold, None, heldout, train).finish()
    known: set[int] = set()
    first = len(heldout)
    for pairs, found in texts.compared(np.arange(len(texts)), later_from=first, earlier_below=first):
        known.update(pairs[(found >= threshold).all(axis=1), 0].tolist())
    return len(known)


def _taken(threshold: float, on_progress: OnProgress | None, *parts: Sequence[Record]) -> TextTaker:
    taker = TextTaker(threshold)
    total = sum(map(len, parts))
    done = 0
    for part in parts:
        for record in part:
            taker.take(sides(record))
            done += 1
            if on_progress is not None and (not done % 1_000 or done == total):
                on_progress(done, total)
    return taker
