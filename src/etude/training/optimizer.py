"""AdamW with float32 master weights for weights held in 16 bits (https://arxiv.org/abs/1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from etude.models import kernels
from etude.training.options import TrainOptions

STATE = ("exp_avg", "exp_avg_sq", "step")
NORM_PARTS = 64
WIDENED_NUMBERS = 1 << 26
"""Gradients of 16-bit weights that are float32 at once, where no kernel updates them."""


class MasterAdamW:
    """AdamW over float32 masters; a 16-bit weight alone would lose updates smaller than its rounding.

    Float32 weights and GPUs go torch's fused way. 16-bit weights on a CPU go through one kernel that reads each number
    once: no float32 copy of a gradient is made.
    """

    def __init__(
        self,
        trainable: Mapping[str, nn.Parameter],
        options: TrainOptions,
        *,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.trainable = dict(trainable)
        self.masters = {
            name: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float()) for name, p in trainable.items()
        }
        self.rates = dict.fromkeys(self.masters, 1.0) | dict(rates or {})
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, master in self.masters.items():
            groups.setdefault((master.ndim >= 2, self.rates[name]), []).append(master)
        self.adamw = torch.optim.AdamW(
            [
                {"params": masters, "weight_decay": options.weight_decay if decayed else 0.0, "rate": rate}
                for (decayed, rate), masters in groups.items()
            ],
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            fused=True,
        )
        self.group_of = {id(p): group for group in self.adamw.param_groups for p in group["params"]}

    def gradient_norm(self) -> Tensor:
        """2-norm over all gradients, float32 whatever they are held in, on the parameters' device."""
        grads = [p.grad for p in self.trainable.values() if p.grad is not None]
        if not grads:
            return torch.zeros(())
        large = [one for one in grads if one.dtype != torch.float32 and kernels.computes(one)]
        rest = [one for one in grads if one.dtype == torch.float32 or not kernels.computes(one)]
        norms = list(torch._foreach_norm(rest, 2, torch.float32)) if rest else []
        found: Tensor = torch.linalg.vector_norm(torch.stack([*norms, *map(_norm_at_once, large)]))
        return found

    def step(self, *, learning_rate: float, gradient_scale: float) -> None:
        """One update with gradients multiplied by `gradient_scale`; gradients are cleared. Never waits for a GPU."""
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate * group["rate"]
        waiting = [name for name, p in self.trainable.items() if p is self.masters[name] and p.grad is not None]
        widened = 0
        for name, parameter in self.trainable.items():
            if parameter.grad is None or parameter is self.masters[name]:
                continue
            if kernels.computes(parameter.grad):
                self._update_at_once(name, parameter, gradient_scale)
                parameter.grad = None
                continue
            waiting.append(name)
            widened += parameter.numel()
            if widened >= WIDENED_NUMBERS:
                self._update(waiting, gradient_scale)
                waiting, widened = [], 0
        self._update(waiting, gradient_scale)
        self.clear()

    def _update(self, names: list[str], gradient_scale: float) -> None:
        """torch's AdamW on these, the only ones whose gradient it sees; those of 16-bit weights are widened first."""
        if not names:
            return
        thin = [name for name in names if self.trainable[name] is not self.masters[name]]
        for name in thin:
            grad = self.trainable[name].grad
            assert grad is not None
            self.masters[name].grad, self.trainable[name].grad = grad.float(), None
        if gradient_scale != 1.0:
            grads = [grad for name in names if (grad := self.masters[name].grad) is not None]
            torch._foreach_mul_(grads, gradient_scale)
        self.adamw.step()
        if thin:
            with torch.no_grad():
                torch._foreach_copy_([self.trainable[name] for name in thin], [self.masters[name] for name in thin])
        for name in names:
            self.masters[name].grad = None

    def _update_at_once(self, name: str, parameter: nn.Parameter, gradient_scale: float) -> None:
        master, grad = self.masters[name], parameter.grad
        assert grad is not None
        group = self.group_of[id(master)]
        state = self.adamw.state[master]
        if not state:
            zeros = torch.zeros_like(master, memory_format=torch.preserve_format)
            state.update(step=torch.zeros(()), exp_avg=zeros, exp_avg_sq=zeros.clone())
        state["step"] += 1
        done, (beta1, beta2) = float(state["step"]), group["betas"]
        settings = (gradient_scale, group["lr"], beta1, beta2, group["eps"], group["weight_decay"])
        tensors = (grad.contiguous(), parameter.detach(), master.detach(), state["exp_avg"], state["exp_avg_sq"])
        kernels.run("adamw", *tensors, master.numel(), *map(float, settings), 1 - beta1**done, 1 - beta2**done)

    def clear(self) -> None:
        """Forgets the gradients."""
        for name, parameter in self.trainable.items():
            parameter.grad = None
            self.masters[name].grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments by name, sharing memory with the optimizer."""
        found: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            if master is not self.trainable[name]:
                found[f"master/{name}"] = master.detach()
            for key, value in self.adamw.state.get(master, {}).items():
                found[f"{key}/{name}"] = value
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave, bit for bit."""
        with torch.no_grad():
            for name, master in self.masters.items():
                if master is not self.trainable[name]:
                    master.copy_(state[f"master/{name}"])
                if f"step/{name}" in state:
                    taken = {key: state[f"{key}/{name}"].to(master.device, copy=True) for key in STATE}
                    self.adamw.state[master] = taken


def _norm_at_once(grad: Tensor) -> Tensor:
    """The 2-norm of a 16-bit gradient without a float32 copy of it."""
    sums = torch.empty(NORM_PARTS)
    kernels.run("sums_of_squares", grad.contiguous(), sums, grad.numel(), NORM_PARTS)
    return sums.sum().sqrt()
