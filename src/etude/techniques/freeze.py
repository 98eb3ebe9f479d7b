"""Layer-selective fine-tuning: some of the base's own layers learn, the rest stay frozen."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from etude.errors import ConfigError, EtudeError
from etude.techniques.targets import last_part
from etude.techniques.whole import WholeModel

if TYPE_CHECKING:
    from torch import Tensor, nn

    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey

SAMPLES = 64
"""Training samples whose gradients decide."""


@dataclass(frozen=True, kw_only=True)
class Freeze(WholeModel):
    """Train the last layers, layers by name, or the matrices that promise most; exactly one of the three."""

    kind: Literal["freeze"] = "freeze"
    last: int | None = None
    """So many of the last decoder layers, and the final norm."""
    patterns: tuple[str, ...] = ()
    """Regular expressions that occur in the names of the weights, as `layers\\.1[0-9]\\.mlp`."""
    choose: Literal["signal", "gradient"] | None = None
    """The best `share` of the matrices of each kind: by signal-to-noise ratio of their singular values
    (Spectrum, https://arxiv.org/abs/2406.06623), or by the length of their gradient on the first training rows."""
    share: float = 0.25
    """Of the matrices of each kind, where `choose` is given."""

    def problems(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        ways = (self.last is not None) + bool(self.patterns) + (self.choose is not None)
        if ways != 1:
            found.append(("kind", f"needs exactly one of last, patterns and choose, got {ways}"))
        if self.last is not None and self.last < 1:
            found.append(("last", f"must be at least 1, got {self.last}"))
        if not 0 < self.share <= 1:
            found.append(("share", f"must be above 0 and at most 1, got {self.share:g}"))
        return found

    def attach(self, model: LoadedModel, *, seed: int, survey: Survey | None = None) -> Mapping[str, nn.Parameter]:
        """Marks the chosen weights.

        Raises:
            ConfigError: more layers than the model has, or a pattern that fits no weight.
            EtudeError: the gradient is to choose, and there are no training samples to compute it on.
        """
        weights = dict(model.module.named_parameters())
        if self.last is not None:
            chosen = self._last(weights, model)
        elif self.patterns:
            chosen = self._named(weights, model)
        else:
            chosen = self._best(weights, survey)
        trainable = {name: weights[name] for name in weights if name in chosen}
        for parameter in trainable.values():
            parameter.requires_grad_(True)
        return trainable

    def _last(self, weights: Mapping[str, nn.Parameter], model: LoadedModel) -> set[str]:
        layer_of = {name: _layer(name) for name in weights}
        num = 1 + max((layer for layer in layer_of.values() if layer is not None), default=-1)
        assert self.last is not None
        if self.last > num:
            raise ConfigError(f"{model.name} has {num} layers, got {self.last}", where="technique.last")
        last_layer = max(index for index, layer in enumerate(layer_of.values()) if layer is not None)
        behind = {name for index, name in enumerate(weights) if index > last_layer and weights[name].ndim == 1}
        return behind | {name for name, layer in layer_of.items() if layer is not None and layer >= num - self.last}

    def _named(self, weights: Mapping[str, nn.Parameter], model: LoadedModel) -> set[str]:
        chosen: set[str] = set()
        for pattern in self.patterns:
            found = {name for name in weights if re.search(pattern, name)}
            if not found:
                near = difflib.get_close_matches(pattern, sorted({last_part(n.rsplit(".", 1)[0]) for n in weights}), 1)
                remedy = f"did you mean {near[0]!r}?" if near else "a weight is called, for example, " + min(weights)
                raise ConfigError(f"{model.name} has no weight {pattern!r}", where="technique.patterns", remedy=remedy)
            chosen |= found
        return chosen

    def _best(self, weights: Mapping[str, nn.Parameter], survey: Survey | None) -> set[str]:
        matrices = {name: p for name, p in weights.items() if p.ndim == 2 and _layer(name) is not None}
        if self.choose == "signal":
            score = {name: signal_to_noise(p.detach()) for name, p in matrices.items()}
        else:
            score = _gradient_lengths(matrices, survey)
        kinds: dict[str, list[str]] = defaultdict(list)
        for name in matrices:
            kinds[re.sub(r"\.\d+\.", ".", name)].append(name)
        chosen: set[str] = set()
        for names in kinds.values():
            best = sorted(names, key=lambda name: -score[name])
            chosen |= set(best[: max(1, round(self.share * len(names)))])
        return chosen


def signal_to_noise(weight_OI: Tensor) -> float:
    """Singular values above the edge that a random matrix would have, over those below, over the largest.

    The edge is that of Marchenko and Pastur, with the noise's scale from the middle half of the values.
    """
    import torch

    values = torch.linalg.svdvals(weight_OI.float())
    low, high = torch.quantile(values, torch.tensor([0.25, 0.75], device=values.device)).tolist()
    ratio = min(weight_OI.shape) / max(weight_OI.shape)
    edge = (high - low) / 1.349 * (1 + ratio**0.5)
    noise = float(values[values <= edge].sum())
    signal = float(values[values > edge].sum())
    return signal / noise / float(values[0]) if noise else float("inf")


def _gradient_lengths(matrices: Mapping[str, nn.Parameter], survey: Survey | None) -> dict[str, float]:
    """Root mean square of each matrix's gradient over the samples."""
    if survey is None:
        raise EtudeError("choosing by gradient needs training samples", remedy="give `survey` to attach")
    squares = dict.fromkeys(matrices, 0.0)

    def visit(name: str, gradient: Tensor) -> None:
        squares[name] += float(gradient.float().square().mean())

    survey(matrices, visit, samples=SAMPLES)
    return {name: square**0.5 for name, square in squares.items()}


def _layer(name: str) -> int | None:
    """The number of the decoder layer that a weight belongs to."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found[1]) if found else None
