"""Models for data commands: one that writes a text for each prompt, one that turns texts into vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from etude.cycle.show import OnProgress
    from etude.data.audit.vectors import Embed

MOST_TOKENS = 256
TEMPERATURE = 0.7
"""Of a local model; an endpoint has its own."""


def embedder(name: str, progress: Callable[[str], AbstractContextManager[OnProgress]]) -> Embed:
    """Texts as unit vectors; the model is loaded when it is called, and the errors are those of `load_embedder`."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        from etude.models.embedding import load_embedder

        with progress("embedding") as on_progress:
            return load_embedder(name, on_progress=on_progress)(texts)

    return embed


def writer(name: str, cache: Path, *, seed: int) -> Callable[[list[str]], list[str]]:
    """The function that writes, by a model here or an endpoint (the YAML file of its settings); answers are kept in
    `cache`, so that none is asked for twice. A prompt that gets no answer gets an empty one.

    Raises:
        EtudeError: nobody goes by that name.
        BudgetSpent: when it is called, and an endpoint may be asked no more.
    """
    from etude.cycle.asking import SETTINGS_FILES, Drawing, open_writer

    temperature = None if Path(name).suffix.lower() in SETTINGS_FILES else TEMPERATURE
    opened = open_writer(name, cache, Drawing(temperature=temperature, max_tokens=MOST_TOKENS, seed=seed))

    def write(prompts: list[str]) -> list[str]:
        from etude.data.reasoning import without_reasoning
        from etude.endpoints.exchange import Ask, Reply

        times: Counter[str] = Counter()
        asks = []
        for prompt in prompts:
            asks.append(Ask((("user", prompt),), sample=times[prompt]))
            times[prompt] += 1
        return [without_reasoning(one.text) if isinstance(one, Reply) else "" for one in opened.answers(asks)]

    return write
