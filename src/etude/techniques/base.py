"""What a technique must know: which weights learn, what the model was before, and how the result is stored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import nn

    from etude.models.loaded import LoadedModel


class Technique(Protocol):
    """A frozen dataclass of knobs that marks, wraps or adds the weights that will learn."""

    @property
    def saved_as(self) -> str:
        """Name of the folder that `save` fills in a run: `adapter`, or `model` for weights that need no base."""
        ...

    def attach(self, model: LoadedModel, *, seed: int) -> Mapping[str, nn.Parameter]:
        """Changes the model in place; the trainable weights by the name under which they are checkpointed."""
        ...

    def learning(self, model: LoadedModel) -> AbstractContextManager[None]:
        """Inside the block the technique's own randomness (dropout) is on; the base model's stays off."""
        ...

    def without(self, model: LoadedModel) -> AbstractContextManager[None]:
        """Inside the block the attached model answers as it did before training."""
        ...

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Writes what was learned, in a format that the field's other tools read."""
        ...

    def load(self, model: LoadedModel, folder: Path) -> None:
        """Reads what `save` wrote into an attached model."""
        ...

    def merge(self, model: LoadedModel) -> None:
        """Turns the attached model into a plain one that answers the same; it cannot be detached again."""
        ...
