"""Texts as vectors, without any model: words, pairs of words and pieces of words, weighed by how rare they are."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Texts to unit vectors [texts, dimensions]: a model's (`etude.models.embedding`) in the place of what is here."""
WORD = re.compile(r"\w+")
PIECE = 4
BUCKETS = 1 << 20
LONGEST = 4_000
"""Characters of a text that are looked at."""
DIMENSIONS = 64
OVERSAMPLED = 10


def features(text: str, known: dict[str, tuple[int, ...]]) -> list[int]:
    """Hashes of a text's words, neighbouring pairs of words, and their pieces of four letters; `known` keeps words'."""
    found: list[int] = []
    before: int | None = None
    for word in WORD.findall(text[:LONGEST].casefold()):
        hashes = known.get(word) or known.setdefault(word, _of_word(word))
        found += hashes
        if before is not None:
            found.append((before * 31 + hashes[0]) % BUCKETS)
        before = hashes[0]
    return found


def _of_word(word: str) -> tuple[int, ...]:
    framed = f"<{word}>"
    pieces = [f"#{framed[at : at + PIECE]}" for at in range(len(framed) - PIECE + 1)]
    return tuple(zlib.crc32(name.encode("utf-8", "surrogatepass")) % BUCKETS for name in (word, *pieces))


@dataclass(frozen=True)
class Words:
    """Which features of texts count and how much: more, the rarer they are; those of one text do not."""

    kept_D: NDArray[np.intp]
    weights_D: NDArray[np.float64]

    def vectors(self, texts: Sequence[str]) -> Any:
        """Other texts' features as a sparse matrix of unit rows."""
        return self._weighed(_counted(texts))

    def _weighed(self, counts: Any) -> Any:
        import numpy as np
        from scipy import sparse

        made = (counts[:, self.kept_D] @ sparse.diags(self.weights_D)).tocsr()
        lengths = np.sqrt(np.asarray(made.multiply(made).sum(axis=1)).ravel())
        return (sparse.diags(1 / np.maximum(lengths, 1e-9)) @ made).tocsr().astype(np.float32)


def learned(texts: Sequence[str], *, most: int | None = None) -> tuple[Words, Any]:
    """What counts in these texts, at most so many features (the commonest), and the texts' own vectors (TF-IDF,
    logarithmic)."""
    import numpy as np

    counts = _counted(texts)
    texts_with = np.bincount(counts.indices, minlength=BUCKETS)
    kept = np.flatnonzero((texts_with >= 2) & (texts_with < len(texts)))
    if most is not None and len(kept) > most:
        kept = np.sort(kept[np.argsort(-texts_with[kept], kind="stable")[:most]])
    words = Words(kept, np.log(len(texts) / np.maximum(1, texts_with[kept])))
    return words, words._weighed(counts)


def weighed(texts: Sequence[str]) -> Any:
    """The texts' features as a sparse matrix of unit rows."""
    return learned(texts)[1]


def _counted(texts: Sequence[str]) -> Any:
    """How often each feature occurs in each text, logarithmic: a sparse matrix [texts, BUCKETS]."""
    import numpy as np
    from scipy import sparse

    starts: list[int] = [0]
    held: list[int] = []
    known: dict[str, tuple[int, ...]] = {}
    for text in texts:
        held += features(text, known)
        starts.append(len(held))
    ones = np.ones(len(held), dtype=np.float32)
    counts = sparse.csr_matrix((ones, np.array(held, dtype=np.int32), starts), shape=(len(texts), BUCKETS))
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    return counts


def condensed(matrix: Any, *, dimensions: int = DIMENSIONS, seed: int = 0) -> NDArray[np.float32]:
    """Unit rows in fewer dimensions: the main ones of a matrix, at random (https://arxiv.org/abs/0909.4061)."""
    import numpy as np

    wanted = max(1, min(dimensions, min(matrix.shape) - 1))
    probe = np.random.default_rng(seed).standard_normal((matrix.shape[1], wanted + OVERSAMPLED), dtype=np.float32)
    basis = matrix @ probe
    for _ in range(2):
        basis, _ = np.linalg.qr(basis)
        basis = matrix @ (matrix.T @ basis)
    basis, _ = np.linalg.qr(basis)
    left, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    made = (basis @ left[:, :wanted]) * values[:wanted]
    unit: NDArray[np.float32] = (made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )
    return unit


def similarities(vectors: Any, rows: Any, others: Any = None) -> NDArray[np.float32]:
    """Cosines of some rows with all rows, or with all of `others`."""
    import numpy as np
    from scipy import sparse

    made = vectors[rows] @ (vectors if others is None else others).T
    dense: NDArray[np.float32] = np.asarray(made.toarray() if sparse.issparse(made) else made)
    return dense
