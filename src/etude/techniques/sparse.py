"""Sparse fine-tuning: a small share of the base's own weights learns, chosen by data, stored as a sparse difference.

Gradients choose (Fisher information: https://arxiv.org/abs/2111.09839, movement: https://arxiv.org/abs/2005.07683), or
chance, as the control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from etude.errors import EtudeError, ModelError
from etude.techniques import adapter_files
from etude.techniques.base import generator_of
from etude.techniques.layerwise import Layerwise, attached_layers, put
from etude.techniques.own_format import described_by
from etude.techniques.targets import ALL_LINEAR, linear_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from etude.models.layers.attached import Attached
    from etude.models.layers.sparse import SparseLinear
    from etude.models.loaded import LoadedModel
    from etude.techniques.base import Survey


@dataclass(frozen=True, kw_only=True)
class Sparse(Layerwise):
    """Train `share` of each linear layer's weights; the base comes back bit for bit when they are taken out."""

    keeps_base: ClassVar[bool] = False
    kind: Literal["sparse"] = "sparse"
    share: float = 0.005
    """Of each layer's weights."""
    choose: Literal["fisher", "gradient", "movement", "random"] = "fisher"
    """Largest mean squared gradient, largest mean gradient, furthest on the way to another value, or by lot."""
    samples: int = 64
    """Training samples whose gradients decide."""
    targets: tuple[str, ...] = (ALL_LINEAR,)
    """Last parts of the layers' names (`q_proj`), or `all-linear`: every linear layer but the head."""

    def problems(self) -> list[tuple[str, str]]:
        found = [] if 0 < self.share <= 1 else [("share", f"must be above 0 and at most 1, got {self.share:g}")]
        if self.samples < 1:
            found.append(("samples", f"must be at least 1, got {self.samples}"))
        if not self.targets:
            found.append(("targets", f"must name at least one layer, or {ALL_LINEAR}"))
        return found

    def layers(self, model: LoadedModel, *, seed: int, survey: Survey | None) -> Iterator[tuple[str, Attached]]:
        """
        Raises:
            EtudeError: gradients are to choose, and there are no training samples to compute them on.
        """
        from etude.models import kernels

        layers = dict(linear_layers(model, self.targets, where="technique.targets"))
        chosen = self._chosen(layers, seed, survey)
        kernels.give_back_memory()  # of scores, which are as large as the weights
        yield from _at(layers, chosen)

    def _chosen(self, layers: Mapping[str, nn.Linear], seed: int, survey: Survey | None) -> dict[str, Tensor]:
        """The places that learn, ascending, in each layer's flattened weight."""
        import torch

        score_of: dict[str, Tensor] = {}
        if self.choose != "random":
            weights = {name: cast("nn.Parameter", linear.weight) for name, linear in layers.items()}
            score_of = self._scores(weights, survey)
        chosen: dict[str, Tensor] = {}
        for name, linear in layers.items():
            if self.choose == "random":
                score = torch.rand(linear.weight.numel(), generator=generator_of(seed, name))
            else:
                score = score_of.pop(name)
            chosen[name] = score.topk(max(1, round(self.share * len(score)))).indices.sort().values
        return chosen

    def _scores(self, weights: Mapping[str, nn.Parameter], survey: Survey | None) -> dict[str, Tensor]:
        """How much each weight promises; as large as the weights themselves while it is computed."""
        import torch

        if survey is None:
            raise EtudeError(f"choosing by {self.choose} needs training samples", remedy="give `survey` to attach")
        sums = {name: torch.zeros(p.numel(), device=p.device) for name, p in weights.items()}

        def visit(name: str, gradient: Tensor) -> None:
            flat = gradient.flatten().float()
            if self.choose == "fisher":
                sums[name].addcmul_(flat, flat)
            elif self.choose == "gradient":
                sums[name].add_(flat)
            else:
                sums[name].addcmul_(flat, weights[name].detach().flatten().float(), value=-1)

        survey(weights, visit, samples=self.samples)
        return {name: one.abs_() if self.choose == "gradient" else one for name, one in sums.items()}

    def reopen(self, model: LoadedModel, folder: Path) -> Mapping[str, nn.Parameter]:
        """The weights that the file names, whatever would be chosen today."""
        layers = dict(linear_layers(model, self.targets, where=str(folder)))
        stored, index_of = adapter_files.read_weights(folder), {}
        for name, linear in layers.items():
            index = stored.get(f"{adapter_files.PREFIX}{name}.index")
            if index is None or not bool(((index >= 0) & (index < linear.weight.numel())).all()):
                raise ModelError(f"{name}: places are missing or outside the weight", where=str(folder))
            index_of[name] = index
        trainable = put(model, _at(layers, index_of))
        self.load(model, folder)
        return trainable

    def take(self, model: LoadedModel, tensors: Mapping[str, Tensor]) -> None:
        """
        Raises:
            ModelError: other places learned there than here.
        """
        for name, tensor in self.tensors(model).items():
            if name.endswith(".index") and not tensor.equal(tensors[name].to(tensor.device)):
                raise ModelError(f"{name}: other weights learned than those attached", where=model.name)
        super().take(model, tensors)

    def settle(self, model: LoadedModel) -> None:
        """Writes what was learned into the base's weights."""
        for layer in _sparse_layers(model):
            layer.put(layer.values)

    @contextmanager
    def without(self, model: LoadedModel) -> Iterator[None]:
        """The base's own numbers stand in its weights inside the block."""
        layers = _sparse_layers(model)
        for layer in layers:
            layer.put(layer.before)
        try:
            yield
        finally:
            for layer in layers:
                layer.put(layer.values)

    def description(self, model: LoadedModel, names: list[str]) -> dict[str, Any]:
        return described_by(self, model)


def _at(layers: Mapping[str, nn.Linear], index_of: Mapping[str, Tensor]) -> Iterator[tuple[str, Attached]]:
    from etude.models.layers.sparse import SparseLinear

    for name, index_K in index_of.items():
        yield name, SparseLinear(layers[name], index_K)


def _sparse_layers(model: LoadedModel) -> list[SparseLinear]:
    return cast("list[SparseLinear]", [layer for _, layer in attached_layers(model)])
