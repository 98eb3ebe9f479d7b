"""Full fine-tuning: every weight of the base model learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from etude.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from etude.models.loaded import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Full:
    """Train all weights; needs the memory of gradients and optimizer state for each of them."""

    kind: Literal["full"] = "full"
    saved_as: ClassVar[str] = "model"
    embeddings: bool = True
    """Whether the token embeddings (and a head tied to them) learn too."""

    def attach(self, model: LoadedModel, *, seed: int) -> Mapping[str, nn.Parameter]:
        """Marks the weights; no weight is fresh, so the seed changes nothing here."""
        frozen = set() if self.embeddings else {id(p) for p in model.module.get_input_embeddings().parameters()}
        trainable = {name: p for name, p in model.module.named_parameters() if id(p) not in frozen}
        for parameter in trainable.values():
            parameter.requires_grad_(True)
        return trainable

    def learning(self, model: LoadedModel) -> AbstractContextManager[None]:
        """Nothing to switch on: no weight is added."""
        return nullcontext()

    @contextmanager
    def without(self, model: LoadedModel) -> Iterator[None]:
        """Reads the base weights back from the folder for the block, and the learned ones again after it."""
        from etude.models.load import reload_weights

        learned = {name: tensor.detach().clone() for name, tensor in model.module.state_dict().items()}
        reload_weights(model, model.folder)
        try:
            yield
        finally:
            model.module.load_state_dict(learned)

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Writes an ordinary transformers folder: config, safetensors, tokenizer."""
        from safetensors import SafetensorError

        from etude.durable import fsync_dir, fsync_file

        try:
            folder.mkdir(parents=True, exist_ok=True)
            model.module.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot be written ({error})", where=str(folder)) from error
        for path in folder.iterdir():
            fsync_file(path)
        fsync_dir(folder)

    def load(self, model: LoadedModel, folder: Path) -> None:
        """Reads a folder that `save` wrote."""
        from etude.models.load import reload_weights

        reload_weights(model, folder)

    def merge(self, model: LoadedModel) -> None:
        """Nothing to do: the model is already plain."""
        model.module.requires_grad_(False)
