"""What techniques share that change the base's own weights and store a model that needs no base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from etude.errors import ModelError
from etude.techniques.base import Usual

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel


class WholeModel(Usual):
    """A technique is left to say which weights learn."""

    saved_as: ClassVar[str] = "model"

    @contextmanager
    def without(self, model: LoadedModel) -> Iterator[None]:
        """Reads the base weights back from the folder for the block, and the learned ones again after it."""
        from etude.models.load import reload_weights

        learned = {name: p.detach().clone() for name, p in model.module.named_parameters() if p.requires_grad}
        reload_weights(model, model.folder)
        try:
            yield
        finally:
            model.module.load_state_dict(learned, strict=False)

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
