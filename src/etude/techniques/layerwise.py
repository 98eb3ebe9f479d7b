"""What techniques share that put a layer of their own in place of some of the base's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from etude.errors import ModelError
from etude.techniques import adapter_files
from etude.techniques.base import Usual, switched

if TYPE_CHECKING:
    from torch import Tensor, nn

    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey


class Layerwise(Usual):
    """A technique is left to say which layers it makes of which, and how PEFT describes them."""

    saved_as: ClassVar[str] = "adapter"
    keeps_base: ClassVar[bool] = True

    @abstractmethod
    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        """The new layers, each around the base's layer of that name."""

    @abstractmethod
    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        """The adapter's config file; `names` are the layers that were wrapped."""

    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]:
        """Wraps the target layers; each draws its fresh weights from (seed, its name), whatever the others do."""
        return put(model, self.layers(model, seed=seed, survey=survey))

    def learning(self, model: LoadedModel) -> AbstractContextManager[None]:
        """Dropout before what learns is on inside the block."""
        return switched([layer for _, layer in attached_layers(model)], "training", True)

    def without(self, model: LoadedModel) -> AbstractContextManager[None]:
        """The layers answer as the base's do inside the block."""
        return switched([layer for _, layer in attached_layers(model)], "enabled", False)

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors."""
        described = self.description(model, [name for name, _ in attached_layers(model)])
        says = {"base_hash": model.base_hash, "base_held_as": self.base_held_as}
        adapter_files.write(folder, described, self.tensors(model), **says)

    def load(self, model: LoadedModel, folder: Path) -> None:
        """Reads an adapter into the attached layers.

        Raises:
            ModelError: a tensor is missing, unknown, of another shape, or holds a number that is not finite.
        """
        found, own = adapter_files.read_weights(folder), self.tensors(model)
        for key, tensor in own.items():
            same = key in found and found[key].shape == tensor.shape
            if not same or not bool(found[key].isfinite().all()):
                raise ModelError(f"{key} is missing, of another shape or not finite", where=str(folder))
        unknown = found.keys() - own.keys()
        if unknown:
            raise ModelError(f"holds weights for layers that are not attached: {min(unknown)}", where=str(folder))
        self.take(model, found)

    def tensors(self, model: LoadedModel) -> dict[str, Tensor]:
        """What is stored, by the names that PEFT gives."""
        layers = attached_layers(model)
        return {_key(name, end): tensor for name, layer in layers for end, tensor in layer.state().items()}

    def take(self, model: LoadedModel, tensors: Mapping[str, Tensor]) -> None:
        """Puts stored tensors, of the right names and shapes, into the attached layers."""
        for name, layer in attached_layers(model):
            layer.take({end: tensors[_key(name, end)] for end in layer.state()})

    def merge(self, model: LoadedModel) -> None:
        """Puts the base's layers back, changed so that they answer as the attached ones did."""
        for name, layer in attached_layers(model):
            model.module.set_submodule(name, layer.merged())


def put(model: LoadedModel, layers: Iterable[tuple[str, Attached]]) -> dict[str, nn.Parameter]:
    """Puts layers in place of the base's; what learns in them, by name.

    Raises:
        ModelError: there are such layers already.
    """
    if attached_layers(model):
        raise ModelError("an adapter is attached already", where=model.name, remedy="load the base model again")
    trainable: dict[str, nn.Parameter] = {}
    for name, layer in list(layers):
        model.module.set_submodule(name, layer.eval())
        trainable |= {f"{name}.{attribute}": parameter for attribute, parameter in layer.learned.items()}
    return trainable


def attached_layers(model: LoadedModel) -> list[tuple[str, Attached]]:
    """The layers that a technique put into the model, by name."""
    from etude.models.layers.attached import Attached

    return [(name, module) for name, module in model.module.named_modules() if isinstance(module, Attached)]


def described(model: LoadedModel, peft_type: str, **settings: Any) -> dict[str, Any]:
    """What every adapter's config file holds, and the settings of its kind."""
    common = {
        "peft_type": peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "inference_mode": True,
    }
    return common | settings


def _key(layer: str, end: str) -> str:
    return f"{adapter_files.PREFIX}{layer}.{end}"
