"""A training of milliseconds: a toy model, a few rows, all settings open."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch

from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.objectives.sft import SFT
from etude.techniques.lora import LoRA
from etude.techniques.policy import Policy, attach
from etude.training.loop import Trained, train
from etude.training.options import TrainOptions
from etude.training.progress import Progress
from tests.toy import toy_loaded


def samples(count: int, seed: int = 0) -> tuple[Sample, ...]:
    """Rows of different lengths, the second half of each learned."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        tokens = tuple(draw.randrange(3, 300) for _ in range(draw.randrange(6, 16)))
        start = len(tokens) // 2
        found.append(Sample(f"rows:{number}", (TokenRow(tokens, (0.0,) * start + (1.0,) * (len(tokens) - start)),)))
    return tuple(found)


def small_policy(technique: Any = None, *, seed: int = 1) -> Policy:
    return attach(technique or LoRA(rank=2), toy_loaded(layers=1, hidden=32), seed=seed)


@dataclass
class Seen:
    """What a run's hook saw: every update, and the weights after it."""

    updates: list[Progress] = field(default_factory=list)
    weights: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def __call__(self, progress: Progress, policy: Policy) -> None:
        self.updates.append(progress)
        self.weights.append(weights_of(policy))

    @property
    def losses(self) -> list[float]:
        return [update.loss for update in self.updates]


def weights_of(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in policy.trainable.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def small_run(*, rows: int = 12, technique: Any = None, objective: Any = None, **rest: Any) -> tuple[Trained, Seen]:
    """Trains; options by name, `heldout`, `place`, `hooks`, `policy` and `source` as `train` takes them."""
    given = {name: rest.pop(name) for name in ("heldout", "place", "ranks") if name in rest}
    policy = rest.pop("policy", None) or small_policy(technique)
    source = rest.pop("source", None) or OfflineBatches(samples=samples(rows))
    seen = Seen()
    hooks = [seen, *rest.pop("hooks", ())]
    options = TrainOptions(**{"batch_rows": 4, "learning_rate": 1e-2, "steps": 6, **rest})
    return train(policy, source, objective or SFT(), options=options, hooks=hooks, **given), seen
