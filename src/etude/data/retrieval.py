"""Which texts are most like a question: by words (BM25), or by vectors."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from etude.data.audit.vectors import Embed, weighed
from etude.errors import EtudeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Search = Callable[[Sequence[str], int], list[list[int]]]
"""From questions and a number to the places of so many texts for each, the most alike first."""
QUESTIONS_AT_ONCE = 256


def needs_bm25() -> None:
    """EtudeError where bm25s is not installed."""
    if importlib.util.find_spec("bm25s") is None:
        raise EtudeError("retrieval by words needs bm25s", remedy="pip install 'etude[advise]'")


def by_words(texts: Sequence[str]) -> Search:
    """BM25 as Lucene computes it, through bm25s (https://arxiv.org/abs/2407.03618). Raises what `needs_bm25` does."""
    needs_bm25()
    import bm25s

    index = bm25s.BM25(method="lucene")
    index.index(bm25s.tokenize(list(texts), stopwords=[], show_progress=False), show_progress=False)

    def search(questions: Sequence[str], number: int) -> list[list[int]]:
        if not questions:
            return []
        asked = bm25s.tokenize(list(questions), stopwords=[], show_progress=False)
        found = index.retrieve(asked, k=min(number, len(texts)), show_progress=False, n_threads=1)
        return [[int(place) for place in places] for places in found.documents]

    return search


def by_likeness(texts: Sequence[str], embed: Embed | None) -> Search:
    """Cosines of vectors: an embedding model's, or words and pieces of words weighed by how rare they are."""
    known: Any = None if embed is None else embed(list(texts))

    def search(questions: Sequence[str], number: int) -> list[list[int]]:
        if embed is None:
            together: Any = weighed([*texts, *questions])
            rows, asked = together[: len(texts)], together[len(texts) :]
        else:
            rows, asked = known, embed(list(questions))
        found: list[list[int]] = []
        for at in range(0, len(questions), QUESTIONS_AT_ONCE):
            found += _nearest(asked[at : at + QUESTIONS_AT_ONCE], rows, number)
        return found

    return search


def _nearest(asked: Any, rows: Any, number: int) -> list[list[int]]:
    import numpy as np
    from scipy import sparse

    alike = asked @ rows.T
    dense: NDArray[np.float32] = np.asarray(alike.toarray() if sparse.issparse(alike) else alike)
    order: list[list[int]] = np.argsort(-dense, axis=1, kind="stable")[:, :number].tolist()
    return order
