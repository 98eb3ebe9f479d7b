"""AdamW with float32 master weights for weights held in 16 bits (https://arxiv.org/abs/1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from etude.training.options import TrainOptions

STATE = ("exp_avg", "exp_avg_sq", "step")


class MasterAdamW:
    """torch's fused AdamW over float32 masters; a 16-bit weight alone would lose updates smaller than its rounding."""

    def __init__(self, trainable: Mapping[str, nn.Parameter], options: TrainOptions) -> None:
        self.trainable = dict(trainable)
        self.masters = {
            name: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float()) for name, p in trainable.items()
        }
        decayed = [p for p in self.masters.values() if p.ndim >= 2]
        rest = [p for p in self.masters.values() if p.ndim < 2]
        self.adamw = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            fused=True,
        )

    def gradient_norm(self) -> Tensor:
        """2-norm over all gradients, float32 whatever they are held in, on the parameters' device."""
        grads = [p.grad for p in self.trainable.values() if p.grad is not None]
        if not grads:
            return torch.zeros(())
        norms = torch._foreach_norm(grads, 2, torch.float32)
        found: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return found

    def step(self, *, learning_rate: float, gradient_scale: float) -> None:
        """One update with gradients multiplied by `gradient_scale`; gradients are cleared. Never waits for a GPU."""
        grads: list[Tensor] = []
        for name, parameter in self.trainable.items():
            if parameter.grad is not None:
                grads.append(parameter.grad.float())  # itself where it is float32
                parameter.grad = None
                self.masters[name].grad = grads[-1]
        if gradient_scale != 1.0 and grads:
            torch._foreach_mul_(grads, gradient_scale)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()
        thin = [name for name, parameter in self.trainable.items() if self.masters[name] is not parameter]
        if thin:
            with torch.no_grad():
                torch._foreach_copy_([self.trainable[name] for name in thin], [self.masters[name] for name in thin])
        self.clear()

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
