"""What every layer can do that stands in place of one of the base's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn


class Attached(nn.Module):
    """In place of a base layer, with something learned beside it; switched off it answers as the base layer does."""

    stored: ClassVar[Mapping[str, str]]
    """The learned parameters by attribute, each with the end of the name under which files hold it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base: Any = base
        self.enabled = True

    @property
    def weight(self) -> Tensor:
        """The base layer's weight; some families look at it for their data type."""
        return cast("Tensor", self.base.weight)

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """What learns, by attribute."""
        found = {name: getattr(self, name) for name in self.stored}
        return {name: parameter for name, parameter in found.items() if parameter is not None}

    def state(self) -> dict[str, Tensor]:
        """What a file holds of this layer, by the end of its name there."""
        return {self.stored[name]: parameter.detach() for name, parameter in self.learned.items()}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave, of the same shapes."""
        for name, parameter in self.learned.items():
            parameter.data.copy_(state[self.stored[name]])

    def merged(self) -> nn.Module:
        """The base layer, changed so that it answers as this one does; techniques that cannot merge never ask."""
        raise NotImplementedError(type(self).__name__)
