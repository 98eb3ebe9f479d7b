"""Linear layers that share their input, as one product: y = x Wᵀ + b + s (x Aᵀ) Bᵀ over all of them at once.

Shape letters: T tokens, I inputs, O outputs of all layers together, R ranks of all adapters together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from etude.models import products
from etude.models.layers.attached import Attached
from etude.models.layers.held import HeldLinear
from etude.models.layers.low_rank import LoRALinear, Pair
from etude.models.layers.sparse import SparseLinear

Kept = tuple[Tensor, ...]


def adopt(linears: Sequence[nn.Module]) -> None:
    """Lays the layers' weights end to end in one memory, of which each keeps its part under its own name."""
    if any(type(one) is not nn.Linear for one in linears):
        return
    for name in ("weight", "bias"):
        parts = [getattr(one, name) for one in linears]
        if len(parts) < 2 or any(part is None for part in parts):
            continue
        whole = torch.cat([part.detach() for part in parts])
        for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
            part.data = view


def _biases(linears: Sequence[nn.Linear | HeldLinear]) -> list[Tensor]:
    return [cast("Tensor", one.bias) for one in linears if one.bias is not None]


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    """The tensors as one view of the memory in which they stand end to end, or None where they do not."""
    first = parts[0].detach()
    expected = first.data_ptr()
    for part in parts:
        if part.data_ptr() != expected or not part.is_contiguous() or part.dtype != first.dtype:
            return None
        expected += part.numel() * part.element_size()
    if len(parts) > 1 and first.untyped_storage().data_ptr() != parts[-1].untyped_storage().data_ptr():
        return None
    return first.as_strided((sum(len(part) for part in parts), *first.shape[1:]), first.stride())


@dataclass(frozen=True, slots=True)
class Projections:
    """What one product needs, read off the modules as they are now."""

    joined_OI: Tensor | None
    """None where the layers hold their weights in few bits."""
    bias_O: Tensor | None
    linears: tuple[nn.Linear | HeldLinear, ...]
    adapters: tuple[tuple[int, Pair], ...]
    """Each with the first output that it adds to."""

    @staticmethod
    def read(modules: Sequence[nn.Module]) -> Projections | None:
        """None where a module is neither a linear layer nor one with a plain low-rank addition."""
        linears: list[nn.Linear | HeldLinear] = []
        adapters: list[tuple[int, Pair]] = []
        for module in modules:
            if isinstance(module, Attached) and not module.enabled:
                module = module.base
            linear = module.base if isinstance(module, (LoRALinear, SparseLinear)) else module
            if type(linear) not in (nn.Linear, HeldLinear):
                return None
            if isinstance(module, LoRALinear):
                if (module.dropout and module.training) or module.magnitude is not None:
                    return None
                adapters.append((sum(one.out_features for one in linears), module.pair))
            linears.append(cast("nn.Linear | HeldLinear", linear))
        held = [isinstance(one, HeldLinear) for one in linears]
        biased = _biases(linears)
        weight = None if all(held) else _joined([one.weight for one in linears])
        bias = _joined(biased) if biased else None
        if (weight is None and not all(held)) or len(biased) not in (0, len(linears)) or (biased and bias is None):
            return None
        return Projections(weight, bias, tuple(linears), tuple(adapters))

    @property
    def weight_OI(self) -> Tensor:
        """All weights, end to end; spelled out for this call where they are held in few bits."""
        if self.joined_OI is not None:
            return self.joined_OI
        sizes = [one.out_features for one in self.linears]
        whole = torch.empty(sum(sizes), self.linears[0].in_features, dtype=self.dtype)
        for one, part in zip(self.linears, whole.split(sizes), strict=True):
            cast("HeldLinear", one).spell_out(part)
        return whole

    @property
    def dtype(self) -> torch.dtype:
        return cast("HeldLinear", self.linears[0]).dtype if self.joined_OI is None else self.joined_OI.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return sum(one.out_features for one in self.linears), self.linears[0].in_features

    @property
    def parameters(self) -> list[Tensor]:
        """Everything that may learn, in the order of `gradients`."""
        weights = [] if self.joined_OI is None else [one.weight for one in self.linears]
        biases = _biases(self.linears)
        low = [tensor for _, one in self.adapters for tensor in (one.lora_A, one.lora_B)]
        return [*weights, *biases, *low]

    def forward(self, x_TI: Tensor, residual_TO: Tensor | None = None) -> tuple[Tensor, Kept]:
        """The outputs, added to a residual if there is one; and what `backward` wants back."""
        kept = self.low_rank(x_TI)
        out_TO = products.forward(x_TI, self.weight_OI, self.added(kept), residual_TO)
        if self.bias_O is not None:
            out_TO += self.bias_O
        return out_TO, kept

    def low_rank(self, x_TI: Tensor) -> Kept:
        """All adapters as two thin matrices, A's stacked [R, I] and scaled B's on a diagonal of blocks [O, R], and the
        inputs between them [T, R]; nothing where there are none. R is rounded up with zeros."""
        if not self.adapters:
            return ()
        num_ranks = sum(len(one.lora_A) for _, one in self.adapters)
        padded = num_ranks + -num_ranks % products.rank_step(x_TI.dtype)
        a_RI, b_OR = x_TI.new_empty(padded, x_TI.shape[1]), x_TI.new_zeros(self.shape[0], padded)
        a_RI[num_ranks:].zero_()
        for (start, one), rank in zip(self.adapters, self._ranks(), strict=True):
            a_RI[rank] = one.lora_A.detach()
            torch.mul(one.lora_B.detach(), one.scale, out=b_OR[start : start + len(one.lora_B), rank])
        return a_RI, b_OR, products.forward(x_TI, a_RI)

    @staticmethod
    def added(kept: Kept) -> products.Pair | None:
        """The operands of the low-rank addition to the outputs."""
        return (kept[2], kept[1]) if kept else None

    def _ranks(self) -> list[slice]:
        found: list[slice] = []
        for _, one in self.adapters:
            start = found[-1].stop if found else 0
            found.append(slice(start, start + len(one.lora_A)))
        return found

    def low_gradient(self, dy_TO: Tensor, kept: Kept) -> Tensor | None:
        """The gradient between the thin matrices, [T, R]."""
        return products.backward(dy_TO, kept[1]) if kept else None

    def input_gradient(self, dy_TO: Tensor, kept: Kept, d_low_TR: Tensor | None) -> Tensor:
        """The gradient of the input, [T, I]."""
        return products.backward(dy_TO, self.weight_OI, None if d_low_TR is None else (d_low_TR, kept[0]))

    def gradients(
        self, dy_TO: Tensor, x_TI: Tensor, kept: Kept, d_low_TR: Tensor | None, needs: Sequence[bool]
    ) -> list[Tensor | None]:
        """The gradients of `parameters` where `needs` says so; float32 for adapters."""
        num, num_weights = len(self.linears), 0 if self.joined_OI is None else len(self.linears)
        sizes = [one.out_features for one in self.linears]
        found: list[Tensor | None] = [None] * num_weights
        if any(needs[:num_weights]):
            found = list(products.outer(dy_TO, x_TI, dy_TO.dtype).split(sizes))
        if self.bias_O is not None:
            wanted = any(needs[num_weights : num_weights + num])
            found += dy_TO.float().sum(0).to(dy_TO.dtype).split(sizes) if wanted else [None] * num
        if d_low_TR is not None:
            da_RI = products.outer(d_low_TR, x_TI, torch.float32)
            for (start, one), rank in zip(self.adapters, self._ranks(), strict=True):
                outputs, low_TR = dy_TO[:, start : start + len(one.lora_B)], kept[2][:, rank]
                found += [da_RI[rank], products.outer(outputs, low_TR, torch.float32, one.scale)]
        return [one if need else None for one, need in zip(found, needs, strict=True)]
