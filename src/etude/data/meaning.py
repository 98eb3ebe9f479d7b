"""Rows that say the same in other words, by the vectors of an embedding model: what shared characters cannot show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from etude.data.audit.vectors import Embed
from etude.data.inputs import OnProgress
from etude.data.sides import Sides

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = 1_024
"""Rows that are compared with all before them at once."""
NUMBER = re.compile(r"\d+")


def meant_alike(
    said: Sequence[Sides], embed: Embed, threshold: float, on_progress: OnProgress | None = None
) -> Iterator[tuple[int, int, float]]:
    """(earlier, later, cosine) of rows whose prompts and answers are alike; the later one's place rises.

    Every row is compared with every one before it, so time grows with the square of the rows; memory is one vector for
    each distinct text. Texts whose numbers differ say different things.
    """
    known = {text: at for at, text in enumerate(dict.fromkeys(text for sides in said for text in sides))}
    vectors = embed(list(known))
    places = np.array([[known[text] for text in sides] for sides in said], dtype=np.int64).reshape(-1, 2)
    numbers = [tuple(tuple(NUMBER.findall(text)) for text in sides) for sides in said]
    for start in range(0, len(said), AT_ONCE):
        stop = min(start + AT_ONCE, len(said))
        alike = np.minimum(*(_cosines(vectors, places[:, side], start, stop) for side in range(2)))
        later, earlier = np.nonzero(alike >= threshold)
        for row, other in zip(later.tolist(), earlier.tolist(), strict=True):
            if other < start + row and numbers[start + row] == numbers[other]:
                yield other, start + row, float(alike[row, other])
        if on_progress is not None:
            on_progress(stop, len(said))


def _cosines(vectors: NDArray[np.float32], places: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float32]:
    """cosines [rows from start to stop, rows before stop]; 1 for one and the same text, empty ones included."""
    found = vectors[places[start:stop]] @ vectors[places[:stop]].T
    found[places[start:stop, None] == places[None, :stop]] = 1.0
    cosines: NDArray[np.float32] = found
    return cosines
