"""LoRA: a low-rank addition to frozen linear layers (https://arxiv.org/abs/2106.09685), stored as PEFT stores it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from etude.errors import ModelError
from etude.techniques.base import generator_of
from etude.techniques.layerwise import Layerwise, described
from etude.techniques.targets import ALL_LINEAR, last_part, linear_layers

if TYPE_CHECKING:
    from etude.models.layers.attached import Attached
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

Number = TypeVar("Number", int, float)
MAX_RANK = 4096
NOT_COMPUTED = (
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
)
"""Settings of PEFT's LoRA that these layers do not follow."""


@dataclass(frozen=True, kw_only=True)
class LoRA(Layerwise):
    """Train two thin matrices beside each chosen linear layer; the base stays as it is."""

    kind: Literal["lora"] = "lora"
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
    dora: bool = False
    """Learn the length of each of the weight's rows apart from its direction (https://arxiv.org/abs/2402.09353)."""
    b_rate: float = 1.0
    """The second matrix learns so many times as fast (LoRA+ takes 16: https://arxiv.org/abs/2402.12354)."""
    start: Literal["zero", "pissa"] = "zero"
    """`pissa` starts at the weight's main directions (https://arxiv.org/abs/2404.02948) and is stored at twice the
    rank, as an addition to the untouched base."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Other ranks for layers whose names end in a pattern, a regular expression as PEFT reads it."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    """Other alphas, likewise."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        ranks = [("rank", self.rank), *((f"rank_pattern.{key}", rank) for key, rank in self.rank_pattern.items())]
        alphas = [("alpha", self.alpha), *((f"alpha_pattern.{key}", one) for key, one in self.alpha_pattern.items())]
        found += [(name, f"must be from 1 to {MAX_RANK}, got {one}") for name, one in ranks if not 1 <= one <= MAX_RANK]
        found += [(name, f"must be above 0, got {one:g}") for name, one in alphas if not one > 0]
        if not 0 <= self.dropout < 1:
            found.append(("dropout", f"must be from 0 up to but below 1, got {self.dropout:g}"))
        if not self.targets:
            found.append(("targets", f"must name at least one layer, or {ALL_LINEAR}"))
        if not self.b_rate > 0:
            found.append(("b_rate", f"must be above 0, got {self.b_rate:g}"))
        if self.dora and self.start == "pissa":
            found.append(("start", "pissa cannot be stored as an addition to the base where dora rescales its rows"))
        for name, patterns in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern)):
            found += [(f"{name}.{key}", "is no regular expression") for key in patterns if not _is_pattern(key)]
        return found

    def rank_of(self, layer: str) -> int:
        """The rank beside a layer of that name."""
        return _first_match(self.rank_pattern, layer, self.rank)

    def scale_of(self, layer: str) -> float:
        """The factor on the addition."""
        alpha, rank = _first_match(self.alpha_pattern, layer, self.alpha), self.rank_of(layer)
        return alpha / (rank**0.5 if self.rslora else rank)

    def rate_of(self, name: str) -> float:
        return self.b_rate if name.endswith("lora_B") else 1.0

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        from etude.models.layers.low_rank import LoRALinear

        for name, linear in linear_layers(model, self.targets, where="technique.targets"):
            generator = generator_of(seed, name)
            rank, scale = self.rank_of(name), self.scale_of(name)
            layer = LoRALinear(linear, rank=rank, scale=scale, dropout=self.dropout, generator=generator)
            if self.start == "pissa":
                layer.start_from_main_directions()
            if self.dora:
                layer.add_magnitude()
            yield name, layer

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        twice = 2 if self.start == "pissa" else 1
        factor = twice**0.5 if self.rslora else twice
        return described(
            model,
            "LORA",
            r=self.rank * twice,
            lora_alpha=self.alpha * factor,
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            rank_pattern={key: rank * twice for key, rank in self.rank_pattern.items()},
            alpha_pattern={key: alpha * factor for key, alpha in self.alpha_pattern.items()},
            target_modules=sorted({*map(last_part, names)}) if ALL_LINEAR in self.targets else list(self.targets),
            bias="none",
            fan_in_fan_out=False,
            init_lora_weights=True,
            modules_to_save=None,
        )

    @classmethod
    def from_peft(cls, config: Mapping[str, Any], folder: Path) -> LoRA:
        """The technique that an adapter_config.json describes.

        Raises:
            ModelError: a LoRA variant that these layers do not compute.
        """
        unsupported = [key for key in NOT_COMPUTED if config.get(key)]
        if unsupported or config.get("bias", "none") != "none":
            raise ModelError(
                f"uses LoRA settings that are not supported: {', '.join(unsupported) or 'bias'}", where=str(folder)
            )
        targets = config["target_modules"]
        return cls(
            rank=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            dropout=float(config.get("lora_dropout", 0.0)),
            targets=(targets,) if isinstance(targets, str) else tuple(targets),
            rslora=bool(config.get("use_rslora", False)),
            dora=bool(config.get("use_dora", False)),
            rank_pattern=dict(config.get("rank_pattern") or {}),
            alpha_pattern=dict(config.get("alpha_pattern") or {}),
        )


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _first_match(patterns: Mapping[str, Number], layer: str, otherwise: Number) -> Number:
    """The value of the first pattern that the layer's name ends in."""
    found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", layer))
    return next(found, otherwise)
