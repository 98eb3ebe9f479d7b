"""Any other method of the PEFT library, by its own settings (https://github.com/huggingface/peft)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from etude.errors import ConfigError, EtudeError, ModelError
from etude.techniques import adapter_files
from etude.techniques.base import Usual, switched

if TYPE_CHECKING:
    from torch import nn

    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

OWN = {"PROMPT_TUNING": "prompt", "P_TUNING": "p-tuning", "PREFIX_TUNING": "prefix"}
"""Methods that act on rows rather than layers: the library's way of doing so cannot be packed, ours can."""
WRAPPED = "wrapped_by_peft"


@dataclass(frozen=True, kw_only=True)
class PeftMethod(Usual):
    """Train what `config` describes, as the library does it: LoHa, LoKr, OFT, BOFT, VeRA, FourierFT, HRA and more."""

    kind: Literal["peft"] = "peft"
    saved_as: ClassVar[str] = "adapter"
    config: Mapping[str, Any] = field(default_factory=dict)
    """The settings as in an adapter_config.json; `peft_type` names the method."""

    def problems(self) -> list[tuple[str, str]]:
        peft_type = str(self.config.get("peft_type", "")).upper()
        if not peft_type:
            return [("config", "must name a method, as `config: {peft_type: LOHA, target_modules: all-linear}`")]
        return [("config.peft_type", f"use `kind: {OWN[peft_type]}`")] if peft_type in OWN else []

    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]:
        """Has the library put its layers into the model.

        Raises:
            ConfigError: settings that the library refuses.
            EtudeError: the library is not installed.
        """
        import torch

        peft = _library()
        settings = {**self.config, "peft_type": str(self.config["peft_type"]).upper(), "inference_mode": False}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                config = peft.get_peft_config({"task_type": "CAUSAL_LM", **settings})
                wrapped = peft.get_peft_model(model.module, config)
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"PEFT refuses it: {error}", where="technique.config") from error
        # Beside the module and not in it: what layers share hangs on the wrapper, and the wrapper holds the module.
        vars(model.module)[WRAPPED] = wrapped
        model.module.eval()
        return {name: p for name, p in model.module.named_parameters() if p.requires_grad}

    def learning(self, model: LoadedModel) -> AbstractContextManager[None]:
        """The method's own layers are in training mode inside the block, the base's are not."""
        parts = [part for layer in _layers(model) for part in layer.modules() if part is not layer.get_base_layer()]
        return switched(parts, "training", True)

    @contextmanager
    def without(self, model: LoadedModel) -> Iterator[None]:
        """The library switches its layers off inside the block."""
        trainable = [p for p in model.module.parameters() if p.requires_grad]
        for layer in _layers(model):
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in _layers(model):
                layer.enable_adapters(True)
            for parameter in trainable:  # switching off froze them
                parameter.requires_grad_(True)

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Writes what the library would."""
        peft = _library()
        wrapped = vars(model.module)[WRAPPED]
        tensors = peft.get_peft_model_state_dict(wrapped, adapter_name="default", save_embedding_layers=False)
        described = {key: _plain(value) for key, value in wrapped.peft_config["default"].to_dict().items()}
        described |= {"base_model_name_or_path": model.name, "inference_mode": True}
        own = {name: tensor.clone() for name, tensor in tensors.items()}  # layers may share one tensor
        adapter_files.write(folder, described, own, base_hash=model.base_hash)

    def load(self, model: LoadedModel, folder: Path) -> None:
        """
        Raises:
            ModelError: the file lacks weights or holds others than those attached.
        """
        peft = _library()
        wrapped, stored = vars(model.module)[WRAPPED], adapter_files.read_weights(folder)
        own = peft.get_peft_model_state_dict(wrapped, adapter_name="default", save_embedding_layers=False)
        odd = stored.keys() ^ own.keys()
        if odd:
            raise ModelError(f"{min(odd)} is missing or not attached", where=str(folder))
        peft.set_peft_model_state_dict(wrapped, stored, adapter_name="default")

    def merge(self, model: LoadedModel) -> None:
        """
        Raises:
            ModelError: the method's layers cannot be merged.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        named = [(n, m) for n, m in model.module.named_modules() if isinstance(m, BaseTunerLayer)]
        for name, layer in named:
            try:
                layer.merge()
            except (NotImplementedError, AttributeError) as error:  # some methods say so, some have no merging at all
                raise ModelError(f"{type(layer).__name__} cannot be merged", where=model.name) from error
            model.module.set_submodule(name, layer.get_base_layer())

    @classmethod
    def from_peft(cls, config: Mapping[str, Any], folder: Path) -> PeftMethod:
        """The technique that an adapter_config.json describes."""
        if not config.get("peft_type"):
            raise ModelError("its description names no method", where=str(folder))
        return cls(config={key: value for key, value in config.items() if value is not None})


def _library() -> Any:
    try:
        import peft
    except ImportError as error:
        raise EtudeError("`technique.kind: peft` needs the PEFT library", remedy="pip install 'etude[peft]'") from error
    return peft


def _layers(model: LoadedModel) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.module.modules() if isinstance(module, BaseTunerLayer)]


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)
