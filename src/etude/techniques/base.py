"""What a technique must know: which weights learn, what the model was before, and how the result is stored."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from etude.models.options import Held

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from etude.models.loaded import LoadedModel


class Visit(Protocol):
    """Is shown a weight's gradient on one micro-batch; the gradient lives for that call alone."""

    def __call__(self, name: str, gradient: Tensor, /) -> None: ...


class Survey(Protocol):
    """Computes gradients of the named weights on the first training samples."""

    def __call__(self, weights: Mapping[str, nn.Parameter], visit: Visit, *, samples: int) -> None: ...


class Technique(Protocol):
    """A frozen dataclass of knobs that marks, wraps or adds the weights that will learn."""

    @property
    def saved_as(self) -> str:
        """Name of the folder that `save` fills in a run: `adapter`, or `model` for weights that need no base."""
        ...

    @property
    def base_held_as(self) -> Held | None:
        """How the base model's linear layers must be held, where that is not for the run file to say."""
        ...

    @property
    def merges(self) -> bool:
        """Whether the result can become plain weights."""
        ...

    @property
    def keeps_base(self) -> bool:
        """Whether the base's layers and weights stay as they were loaded, so that another model may stand on them."""
        ...

    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]:
        """Changes the model in place; the trainable weights by the name under which they are checkpointed."""
        ...

    def reopen(self, model: LoadedModel, folder: Path) -> Mapping[str, nn.Parameter]:
        """Attaches what `save` wrote."""
        ...

    def rate_of(self, name: str) -> float:
        """The factor on the learning rate of a trainable weight."""
        ...

    def settle(self, model: LoadedModel) -> None:
        """Makes the model answer by its trainable weights as they are now; called after each change of them."""
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


class Usual(ABC):
    """What holds for most techniques: one rate, nothing random, weights that the model reads where they are."""

    base_held_as: Held | None = None
    merges: ClassVar[bool] = True
    keeps_base: ClassVar[bool] = False

    @abstractmethod
    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]: ...

    @abstractmethod
    def load(self, model: LoadedModel, folder: Path) -> None: ...

    def reopen(self, model: LoadedModel, folder: Path) -> Mapping[str, nn.Parameter]:
        trainable = self.attach(model, seed=0)
        self.load(model, folder)
        return trainable

    def rate_of(self, name: str) -> float:
        return 1.0

    def settle(self, model: LoadedModel) -> None:
        """Nothing to do: the model reads what learns."""
        return

    def learning(self, model: LoadedModel) -> AbstractContextManager[None]:
        return nullcontext()


@contextmanager
def switched(layers: Sequence[nn.Module], switch: str, value: bool) -> Iterator[None]:
    """Inside the block the layers' switch (`training`, `enabled`) stands so, and the other way after it."""
    for layer in layers:
        setattr(layer, switch, value)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, switch, not value)


def generator_of(seed: int, name: str) -> Generator:
    """The random numbers of one layer's fresh weights, whatever others draw."""
    import torch

    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
