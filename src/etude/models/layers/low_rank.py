"""The low-rank linear layer: y = x Wᵀ + b + s (x Aᵀ) Bᵀ (https://arxiv.org/abs/2106.09685).

With a magnitude (https://arxiv.org/abs/2402.09353): y = m / ‖W + s B A‖ · (x Wᵀ + s (x Aᵀ) Bᵀ) + b, norms row by row.

Shape letters: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from etude.models.layers.attached import Attached


@dataclass(frozen=True, slots=True)
class Pair:
    """The two thin matrices beside a layer, [R, I] and [O, R], and the factor on what they add."""

    lora_A: Tensor
    lora_B: Tensor
    scale: float

    def added(self, x: Tensor) -> Tensor:
        """s (x Aᵀ) Bᵀ in the pair's precision, handed back in the input's."""
        low = x.to(self.lora_A.dtype) @ self.lora_A.t()
        return (low @ self.lora_B.t() * self.scale).to(x.dtype)


class LoRALinear(Attached):
    """A frozen linear layer with a low-rank addition held in float32."""

    stored: ClassVar[Mapping[str, str]] = {
        "lora_A": "lora_A.weight",
        "lora_B": "lora_B.weight",
        "magnitude": "lora_magnitude_vector",
    }
    lora_A: nn.Parameter
    lora_B: nn.Parameter
    magnitude: nn.Parameter | None
    start: tuple[Tensor, Tensor] | None
    """A frozen copy of what both matrices began with, taken off again."""

    def __init__(
        self, base: nn.Linear, *, rank: int, scale: float, dropout: float = 0.0, generator: torch.Generator
    ) -> None:
        super().__init__(base)
        self.scale = scale
        self.dropout = dropout
        place = base.weight.device
        a_RI = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(a_RI, a=math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(a_RI.to(place))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=place))
        self.register_parameter("magnitude", None)
        self.start = None

    def add_magnitude(self) -> None:
        """Learns the length of each of the weight's rows apart from its direction."""
        self.magnitude = nn.Parameter(self._lengths_O())

    def start_from_main_directions(self) -> None:
        """Starts at the weight's largest singular directions (https://arxiv.org/abs/2404.02948).

        What the pair adds at first is taken off again by a frozen copy, so the base stays as it is, to the last bit.
        """
        rank = len(self.lora_A)
        left, values, right = torch.linalg.svd(self.base.weight.detach().float(), full_matrices=False)
        root = (values[:rank] / self.scale).sqrt()
        self.lora_A.data.copy_(root[:, None] * right[:rank])
        self.lora_B.data.copy_(left[:, :rank] * root)
        self.start = self.lora_A.detach().clone(), self.lora_B.detach().clone()

    @property
    def pair(self) -> Pair:
        """Everything low-rank that is added to the frozen weight."""
        if self.start is None:
            return Pair(self.lora_A, self.lora_B, self.scale)
        start_A, start_B = self.start
        return Pair(torch.cat([self.lora_A, start_A]), torch.cat([self.lora_B, -start_B], dim=1), self.scale)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return cast("Tensor", self.base(x))
        if self.dropout and self.training:
            return self._dropped(x)
        pair, bias_O = self.pair, self.base.bias
        x_TI = x.reshape(-1, x.shape[-1])
        arguments = (x_TI, self.base, bias_O if self.magnitude is None else None)
        out_TO = LowRankProduct.apply(*arguments, pair.lora_A, pair.lora_B, pair.scale)  # type: ignore[no-untyped-call]
        if self.magnitude is not None:
            out_TO = out_TO * (self.magnitude / self._lengths_O()).to(x.dtype)
            out_TO = out_TO if bias_O is None else out_TO + bias_O
        return cast("Tensor", out_TO).view(*x.shape[:-1], -1)

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout acts on what is learned: the base's own answer sees all inputs."""
        seen = nn.functional.dropout(x, self.dropout)
        added = self.pair.added(seen)
        if self.magnitude is not None:
            factor = (self.magnitude / self._lengths_O()).to(x.dtype)
            added = factor * added + (factor - 1) * (seen @ self.base.weight.t())
        return cast("Tensor", self.base(x) + added)

    @torch.no_grad()
    def _lengths_O(self) -> Tensor:
        """‖W + s B A‖ of each row, float32 and without a gradient, as the method says."""
        weight = cast("Tensor", self.base.weight)
        return cast("Tensor", torch.linalg.vector_norm(weight.float() + self.delta_OI(), dim=1))

    @torch.no_grad()
    def delta_OI(self) -> Tensor:
        """What the pair adds to the frozen weight, float32 [O, I]."""
        pair = self.pair
        return pair.scale * (pair.lora_B.float() @ pair.lora_A.float())

    def state(self) -> dict[str, Tensor]:
        """A pair with a start is stored as one of twice the rank, which anyone can add to the untouched base."""
        pair, found = self.pair, super().state()
        return found | {"lora_A.weight": pair.lora_A.detach(), "lora_B.weight": pair.lora_B.detach()}

    def take(self, state: Mapping[str, Tensor]) -> None:
        if self.start is not None:
            (a_RI, start_A), (b_OR, start_B) = (
                state[f"{name}.weight"].chunk(2, dim=dim) for name, dim in (("lora_A", 0), ("lora_B", 1))
            )
            self.start[0].copy_(start_A)
            self.start[1].copy_(-start_B)
            state = {**state, "lora_A.weight": a_RI, "lora_B.weight": b_OR}
        super().take(state)

    def merged(self) -> nn.Module:
        """The base layer with the addition in its weight; one that was held in few bits becomes a plain one."""
        merged = self.base.weight.detach().float() + self.delta_OI()
        if self.magnitude is not None:
            merged *= (self.magnitude.detach() / torch.linalg.vector_norm(merged, dim=1))[:, None]
        if type(self.base) is nn.Linear:
            self.base.weight.data.copy_(merged.to(self.base.weight.dtype))
            return self.base
        outputs, inputs = merged.shape
        plain = nn.Linear(inputs, outputs, bias=self.base.bias is not None, device="meta")
        plain.weight = nn.Parameter(merged.to(self.base.dtype), requires_grad=False)
        if self.base.bias is not None:
            plain.bias = nn.Parameter(self.base.bias, requires_grad=False)
        return plain


class LowRankProduct(torch.autograd.Function):
    """The whole layer as one node: the adapter's products run in the input's precision, its gradients are float32.

    The frozen weight is read off the base layer each time: it may be spelled out from few bits.
    """

    @staticmethod
    def forward(
        ctx: Any, x_TI: Tensor, base: Any, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        a, b = a_RI.to(x_TI.dtype), b_OR.to(x_TI.dtype)
        low_TR = x_TI @ a.t()
        out_TO = nn.functional.linear(x_TI, base.weight, bias_O)
        out_TO.addmm_(low_TR, b.t(), alpha=scale)
        ctx.save_for_backward(x_TI, a, b, low_TR)
        ctx.base, ctx.scale = base, scale
        return out_TO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, a, b, low_TR = ctx.saved_tensors
        grad_TO = gradients[0]
        grad_low_TR = grad_TO @ b
        grad_a = (grad_low_TR.t() @ x_TI).float().mul_(ctx.scale)
        grad_b = (grad_TO.t() @ low_TR).float().mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.addmm(grad_TO @ ctx.base.weight, grad_low_TR, a, alpha=ctx.scale)
        return grad_x, None, None, grad_a, grad_b, None
