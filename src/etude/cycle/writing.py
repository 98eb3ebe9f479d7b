"""The embedding model of data commands, loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from etude.cycle.show import OnProgress
    from etude.data.audit.vectors import Embed
    from etude.models.embedding import Embedder

WITHOUT_PROGRESS = 64
"""Texts that are embedded at once, with no word about it."""


def embedder(name: str, progress: Callable[[str], AbstractContextManager[OnProgress]]) -> Embed:
    """Texts as unit vectors; the model is loaded when it is first called, and the errors are those of
    `load_embedder`."""

    @cache
    def loaded() -> Embedder:
        from etude.models.embedding import load_embedder

        return load_embedder(name)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(texts) <= WITHOUT_PROGRESS:
            return loaded()(texts)
        with progress("embedding") as on_progress:
            return loaded()(texts, on_progress)

    return embed
