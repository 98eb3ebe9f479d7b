"""Items and training rows as vectors: topics of items, and the training rows that are most like some of them.

Letters: N items, R training rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.data.audit.coverage import Clusters, cluster
from etude.data.audit.vectors import Embed, condensed, similarities, weighed
from etude.diagnosis.explanation import Near
from etude.records import Origin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OF_EACH = 5
"""Nearest training rows that are taken of each item."""
KEPT = 24
AT_ONCE = 256
SHOWN = 300


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A row that was learned from."""

    origin: Origin
    asked: str
    answer: str


@dataclass(frozen=True)
class Space:
    """One space for the items' questions and the training rows'."""

    items: Any
    """Unit rows [N, …], sparse without an embedding model."""
    rows: Any
    """Unit rows [R, …]."""
    dense_ND: NDArray[np.float32]
    training: Sequence[TrainingRow]

    def clustered(self, places: Sequence[int], number: int, *, seed: int) -> Clusters:
        """Items by topic; one topic where no two questions have a word in common. 0: as many as suit their number."""
        vectors = self.dense_ND[list(places)]
        return cluster(vectors, number if vectors.any() else 1, seed=seed)

    def closest(self, places: Sequence[int]) -> NDArray[np.float32]:
        """For each item the cosine with the training row that is most like it; zeros where there are no rows."""
        import numpy as np

        if not self.training or not len(places):
            return np.zeros(len(places), dtype=np.float32)
        parts = [places[at : at + AT_ONCE] for at in range(0, len(places), AT_ONCE)]
        return np.concatenate([similarities(self.items, list(part), self.rows).max(axis=1) for part in parts])

    def nearest(self, places: Sequence[int], among: Sequence[int] | None = None) -> tuple[Near, ...]:
        """Training rows that are near many of the items, or very near to some; `among`: only these rows."""
        ranked = self.ranked(places, among)
        return tuple(self._near(row, alike, items) for row, alike, items in ranked if items)[:KEPT]

    def ranked(self, places: Sequence[int], among: Sequence[int] | None = None) -> list[tuple[int, float, int]]:
        """(row, cosine with the item most like it, items that have it among their nearest), the most useful first."""
        import numpy as np

        chosen = np.arange(len(self.training)) if among is None else np.asarray(among, dtype=np.intp)
        if not len(chosen) or not len(places):
            return []
        rows = self.rows[chosen]
        points, best, hits = (np.zeros(len(chosen)) for _ in range(3))
        for at in range(0, len(places), AT_ONCE):
            alike = similarities(self.items, list(places[at : at + AT_ONCE]), rows)
            top = np.argsort(-alike, axis=1, kind="stable")[:, :OF_EACH]
            for item, found in enumerate(top):
                points[found] += alike[item, found]
                hits[found] += 1
            best = np.maximum(best, alike.max(axis=0))
        order = np.lexsort((np.arange(len(chosen)), -best, -points))
        return [(int(chosen[at]), float(best[at]), int(hits[at])) for at in order]

    def _near(self, row: int, alike: float, items: int) -> Near:
        one = self.training[row]
        return Near(
            one.origin.path, one.origin.line, one.asked[:SHOWN], one.answer[:SHOWN], round(min(1.0, alike), 4), items
        )


def space_of(asked: Sequence[str], training: Sequence[TrainingRow], embed: Embed | None, *, seed: int = 0) -> Space:
    """Vectors of all questions together: an embedding model's, or words weighed by how rare they are."""
    import numpy as np

    texts = [*asked, *(row.asked for row in training)]
    if embed is not None:
        vectors: Any = embed(texts)
        return Space(vectors[: len(asked)], vectors[len(asked) :], vectors[: len(asked)], training)
    vectors = weighed(texts)
    # Questions that have no word in common have no features.
    dense = condensed(vectors, seed=seed) if vectors.shape[1] else np.zeros((len(texts), 1), dtype=np.float32)
    return Space(vectors[: len(asked)], vectors[len(asked) :], dense[: len(asked)], training)
