"""LoRA: a low-rank addition to frozen linear layers (https://arxiv.org/abs/2106.09685), stored as PEFT stores it."""

from __future__ import annotations

import difflib
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from etude.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from etude.models.layers import LoRALinear
    from etude.models.loaded import LoadedModel

ALL_LINEAR = "all-linear"
MAX_RANK = 4096
BASE_HASH = "etude_base_hash"
"""Key in the adapter's safetensors header: PEFT would warn of an unknown key in its config."""


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Train two thin matrices beside each chosen linear layer; the base stays as it is."""

    kind: Literal["lora"] = "lora"
    saved_as: ClassVar[str] = "adapter"
    rank: int = 16
    """Columns of the thin matrices."""
    alpha: float = 32.0
    """The addition is scaled by alpha / rank (rsLoRA: alpha / sqrt(rank))."""
    dropout: float = 0.0
    """Share of the layer's inputs that the addition does not see in training."""
    targets: tuple[str, ...] = (ALL_LINEAR,)
    """Last parts of the layers' names (`q_proj`), or `all-linear`: every linear layer but the head."""
    rslora: bool = False
    """Rank-stabilised scaling (https://arxiv.org/abs/2312.03732)."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if not 1 <= self.rank <= MAX_RANK:
            found.append(("rank", f"must be from 1 to {MAX_RANK}, got {self.rank}"))
        if self.alpha <= 0:
            found.append(("alpha", f"must be above 0, got {self.alpha:g}"))
        if not 0 <= self.dropout < 1:
            found.append(("dropout", f"must be from 0 up to but below 1, got {self.dropout:g}"))
        if not self.targets:
            found.append(("targets", f"must name at least one layer, or {ALL_LINEAR}"))
        return found

    @property
    def scale(self) -> float:
        """The factor on the addition."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def attach(self, model: LoadedModel, *, seed: int) -> Mapping[str, nn.Parameter]:
        """Wraps the target layers; each draws its fresh weights from (seed, its name), whatever the others do."""
        import torch

        from etude.models.layers import LoRALinear

        if self._layers_in(model):
            raise ModelError("an adapter is attached already", where=model.name, remedy="load the base model again")
        trainable: dict[str, nn.Parameter] = {}
        for name, linear in self._targets_in(model):
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            layer = LoRALinear(linear, rank=self.rank, scale=self.scale, dropout=self.dropout, generator=generator)
            model.module.set_submodule(name, layer.eval())
            trainable[f"{name}.lora_A"] = layer.lora_A
            trainable[f"{name}.lora_B"] = layer.lora_B
        return trainable

    def _targets_in(self, model: LoadedModel) -> list[tuple[str, nn.Linear]]:
        from torch import nn

        head = model.module.get_output_embeddings()
        linear = [(n, m) for n, m in model.module.named_modules() if type(m) is nn.Linear and m is not head]
        last_parts = sorted({name.rsplit(".", 1)[-1] for name, _ in linear})
        if not linear:
            raise ModelError("no linear layers that LoRA can wrap", where=model.name, remedy="use `kind: full`")
        chosen: list[tuple[str, nn.Linear]] = []
        for target in self.targets:
            found = linear if target == ALL_LINEAR else [(n, m) for n, m in linear if f".{n}".endswith(f".{target}")]
            if not found:
                near = difflib.get_close_matches(target, last_parts, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else f"its linear layers are {', '.join(last_parts)}"
                raise ConfigError(
                    f"{model.name} has no linear layer {target!r}", where="technique.targets", remedy=remedy
                )
            chosen += found
        return list(dict(chosen).items())

    def _layers_in(self, model: LoadedModel) -> list[tuple[str, LoRALinear]]:
        from etude.models.layers import LoRALinear

        return [(name, module) for name, module in model.module.named_modules() if isinstance(module, LoRALinear)]

    @contextmanager
    def learning(self, model: LoadedModel) -> Iterator[None]:
        """Dropout before the thin matrices is on inside the block."""
        layers = [layer for _, layer in self._layers_in(model)]
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False

    @contextmanager
    def without(self, model: LoadedModel) -> Iterator[None]:
        layers = [layer for _, layer in self._layers_in(model)]
        for layer in layers:
            layer.enabled = False
        try:
            yield
        finally:
            for layer in layers:
                layer.enabled = True

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Writes adapter_config.json and adapter_model.safetensors, which PEFT, vLLM and llama.cpp's converter read."""
        from safetensors.torch import save

        from etude.durable import write_bytes, write_json

        tensors: dict[str, Tensor] = {}
        for name, layer in self._layers_in(model):
            tensors[f"base_model.model.{name}.lora_A.weight"] = layer.lora_A.detach().cpu().contiguous()
            tensors[f"base_model.model.{name}.lora_B.weight"] = layer.lora_B.detach().cpu().contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "adapter_config.json", self._peft_config(model))
        content = save(tensors, metadata={"format": "pt", BASE_HASH: model.base_hash})
        write_bytes(folder / "adapter_model.safetensors", _in_fixed_order(content))

    def _peft_config(self, model: LoadedModel) -> dict[str, Any]:
        names = [name for name, _ in self._layers_in(model)]
        everywhere = ALL_LINEAR in self.targets
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": model.name,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "target_modules": sorted({n.rsplit(".", 1)[-1] for n in names}) if everywhere else list(self.targets),
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "modules_to_save": None,
        }

    def load(self, model: LoadedModel, folder: Path) -> None:
        """Reads an adapter into the attached layers.

        Raises:
            ModelError: a layer is missing, unknown, of another shape, or holds a number that is not finite.
        """
        from safetensors.torch import load_file

        tensors = load_file(folder / "adapter_model.safetensors")
        for name, layer in self._layers_in(model):
            for which, parameter in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
                key = f"base_model.model.{name}.{which}.weight"
                found = tensors.pop(key, None)
                if found is None or found.shape != parameter.shape or not bool(found.isfinite().all()):
                    raise ModelError(f"{key} is missing, of another shape or not finite", where=str(folder))
                parameter.data.copy_(found)
        if tensors:
            raise ModelError(f"holds weights for layers that are not attached: {min(tensors)}", where=str(folder))

    def merge(self, model: LoadedModel) -> None:
        for name, layer in self._layers_in(model):
            weight = layer.base.weight
            weight.data.copy_((weight.float() + layer.delta_OI()).to(weight.dtype))
            model.module.set_submodule(name, layer.base)


def _in_fixed_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes them in an order that changes by chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def from_peft(config: Mapping[str, Any], *, where: str) -> LoRA:
    """The technique that an adapter_config.json describes.

    Raises:
        ModelError: another kind of adapter, or a LoRA variant that these layers do not compute.
    """
    if config.get("peft_type") != "LORA":
        raise ModelError(f"holds a {config.get('peft_type')} adapter, not LoRA", where=where)
    unsupported = [key for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if config.get(key)]
    if unsupported or config.get("bias", "none") != "none":
        raise ModelError(f"uses LoRA settings that are not supported: {unsupported or 'bias'}", where=where)
    targets = config["target_modules"]
    return LoRA(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout", 0.0)),
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        rslora=bool(config.get("use_rslora", False)),
    )
