"""Several LoRA adapters of one base as one: weighted sum, TIES, DARE.

Sums of low-rank additions are exact at the ranks' sum; TIES (https://arxiv.org/abs/2306.01708) and DARE
(https://arxiv.org/abs/2311.03099) act on whole additions, which are then cut back to a rank.

Shape letters: O outputs, I inputs, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etude.errors import ConfigError, ModelError
from etude.techniques import adapter_files
from etude.techniques.base import generator_of
from etude.techniques.lora import LoRA
from etude.techniques.policy import technique_in

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["sum", "ties", "dare", "dare-ties"]
A_END, B_END = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """How adapters become one."""

    method: Method = "sum"
    weights: tuple[float, ...] = ()
    """One for each adapter; ones if left out."""
    density: float = 0.5
    """Share of each addition's numbers that TIES and DARE keep."""
    rank: int | None = None
    """Of the result; the sum of the adapters' ranks if left out."""
    seed: int = 0
    """Decides what DARE drops."""

    def problems(self, num_adapters: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if num_adapters < 2 and self.method != "sum":
            found.append(("adapters", f"{self.method} needs at least two"))
        if self.weights and len(self.weights) != num_adapters:
            found.append(("weights", f"{len(self.weights)} for {num_adapters} adapters"))
        if not 0 < self.density <= 1:
            found.append(("density", f"must be above 0 and at most 1, got {self.density:g}"))
        if self.rank is not None and self.rank < 1:
            found.append(("rank", f"must be at least 1, got {self.rank}"))
        return found


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written."""

    rank: int
    kept: float
    """Share of the combined additions' squared size that the rank holds; 1 is all of it."""


def merge_adapters(folders: Sequence[Path], out: Path, merging: Merging) -> Merged:
    """Writes one LoRA adapter that adds what the others add together.

    Raises:
        ConfigError: settings out of range.
        ModelError: adapters that are no plain LoRA, or of different base models.
    """
    problems = merging.problems(len(folders))
    if problems:
        raise ConfigError("; ".join(f"{name}: {says}" for name, says in problems), where="export merge")
    additions = [_Additions(folder) for folder in folders]
    _refuse_different_bases(additions)
    weights = merging.weights or (1.0,) * len(additions)
    layers = sorted({name for one in additions for name in one.layers})
    rank = merging.rank or max(sum(one.rank(name) for one in additions) for name in layers)
    tensors: dict[str, Tensor] = {}
    whole = held = 0.0
    for name in layers:
        parts = [(one, weight) for one, weight in zip(additions, weights, strict=True) if name in one.layers]
        if merging.method == "sum" and sum(one.rank(name) for one, _ in parts) <= rank:
            low, high = _beside(name, parts, rank)
            size = float((high @ low).square().sum())
            whole, held = whole + size, held + size
        else:
            combined = _combined([weight * one.delta_OI(name) for one, weight in parts], merging, name)
            low, high, kept = _cut(combined, rank)
            whole, held = whole + float(combined.square().sum()), held + kept
        tensors[name + A_END], tensors[name + B_END] = low, high
    _write(out, additions[0], tensors, rank)
    return Merged(rank, held / whole if whole else 1.0)


class _Additions:
    """One adapter's thin matrices by layer, the scale in the second."""

    def __init__(self, folder: Path) -> None:
        technique = technique_in(folder)
        if not isinstance(technique, LoRA) or technique.dora:
            raise ModelError("only plain LoRA adapters can be added up", where=str(folder))
        self.folder, self.technique = folder, technique
        self.config, self.header = adapter_files.read_config(folder), adapter_files.read_header(folder)
        self.tensors = adapter_files.read_weights(folder)
        self.layers = sorted(name.removesuffix(A_END) for name in self.tensors if name.endswith(A_END))

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        scale = self.technique.scale_of(name.removeprefix(adapter_files.PREFIX))
        return self.tensors[name + A_END].float(), self.tensors[name + B_END].float() * scale

    def rank(self, name: str) -> int:
        return len(self.tensors[name + A_END]) if name in self.layers else 0

    def delta_OI(self, name: str) -> Tensor:
        low, high = self.pair(name)
        return high @ low


def _refuse_different_bases(additions: Sequence[_Additions]) -> None:
    first = additions[0]
    for one in additions[1:]:
        hashes = [each.header.get(adapter_files.BASE_HASH) for each in (first, one)]
        names = [each.config.get("base_model_name_or_path") for each in (first, one)]
        differ = hashes[0] != hashes[1] if all(hashes) else names[0] != names[1]
        if differ:
            raise ModelError(
                f"made for another base model ({names[1]}) than {first.folder} ({names[0]})", where=str(one.folder)
            )


def _beside(name: str, parts: Sequence[tuple[_Additions, float]], rank: int) -> tuple[Tensor, Tensor]:
    """The pairs side by side, padded with zeros to the rank."""
    import torch

    pairs = [(one.pair(name), weight) for one, weight in parts]
    low = torch.cat([pair[0] for pair, _ in pairs])
    high = torch.cat([pair[1] * weight for pair, weight in pairs], dim=1)
    missing = rank - len(low)
    return torch.nn.functional.pad(low, (0, 0, 0, missing)), torch.nn.functional.pad(high, (0, missing))


def _combined(deltas: Sequence[Tensor], merging: Merging, name: str) -> Tensor:
    """The additions as one matrix."""
    import torch

    if merging.method in ("dare", "dare-ties"):
        generator = generator_of(merging.seed, name)
        kept = [torch.rand(one.shape, generator=generator) < merging.density for one in deltas]
        deltas = [one * mask / merging.density for one, mask in zip(deltas, kept, strict=True)]
    elif merging.method == "ties":
        deltas = [_largest(one, merging.density) for one in deltas]
    stacked = torch.stack(list(deltas))
    if merging.method in ("sum", "dare"):
        return stacked.sum(0)
    agree = stacked.sign() == stacked.sum(0).sign()
    return (stacked * agree).sum(0) / agree.sum(0).clamp(min=1)


def _largest(delta_OI: Tensor, share: float) -> Tensor:
    """The largest numbers, zeros for the rest."""
    count = max(1, round(share * delta_OI.numel()))
    edge = delta_OI.abs().flatten().kthvalue(delta_OI.numel() - count + 1).values
    return delta_OI * (delta_OI.abs() >= edge)


def _cut(delta_OI: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best pair of a rank, and how much of the squared size it holds."""
    import torch

    left, values, right = torch.linalg.svd(delta_OI, full_matrices=False)
    root = values[:rank].sqrt()
    low, high = root[:, None] * right[:rank], left[:, :rank] * root
    missing = rank - len(low)
    padded = torch.nn.functional.pad(low, (0, 0, 0, missing)), torch.nn.functional.pad(high, (0, missing))
    return *padded, float(values[:rank].square().sum())


def _write(out: Path, first: _Additions, tensors: dict[str, Tensor], rank: int) -> None:
    layers = {name.removesuffix(A_END).rsplit(".", 1)[-1] for name in tensors if name.endswith(A_END)}
    config = {
        **first.config,
        "r": rank,
        "lora_alpha": float(rank),
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": sorted(layers),
    }
    adapter_files.write(
        out,
        config,
        tensors,
        base_hash=first.header.get(adapter_files.BASE_HASH),
        base_held_as=first.header.get(adapter_files.BASE_HELD_AS),
    )
