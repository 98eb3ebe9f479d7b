"""The knobs of the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KeepBy = Literal["loss", "score"]
"""By what the best weights are known."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long, how fast and how carefully to train."""

    epochs: float | None = None
    """Passes over the training rows; give this or `steps` (1 when both are left out)."""
    steps: int | None = None
    """Optimizer updates; give this or `epochs`."""
    batch_rows: int = 16
    """Samples per optimizer update, over all ranks and micro-batches."""
    learning_rate: float = 2e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant", "rising"] = "cosine"
    """How the learning rate falls after the warm-up: to zero along a cosine, a line, or not at all. `rising` is for
    finding a rate: from a hundred-thousandth to all of it by equal factors."""
    warmup_share: float = 0.05
    """Share of the updates over which the learning rate climbs to its peak."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW, on matrices only."""
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 1.0
    """Gradients longer than this (2-norm over all weights) are scaled down to it; 0 switches clipping off."""
    seed: int = 0
    """Seeds the order of the rows, dropout and the technique's fresh weights."""
    heldout_every: int | None = None
    """Updates between two looks at held-out rows; about ten a run when left out."""
    patience: int | None = None
    """Stop after this many looks at held-out rows without a new best; never when left out."""
    keep_best: bool = True
    """Hand back the weights of the best look at held-out rows instead of the last ones."""
    keep_best_by: KeepBy = "loss"
    """Which look is the best, for `keep_best` and `patience`: the one with the lowest held-out `loss`, or the one with
    the highest `score` in the task of `evaluation.live` (of equal scores the lower loss)."""
    save_every: int | None = None
    """Updates between checkpoints; about five a run when left out. 0: none but on a request to stop."""
    keep_checkpoints: int = 2
    """How many checkpoints stay on disk."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if self.epochs is not None and self.steps is not None:
            found.append(("steps", "give either epochs or steps, not both"))
        at_least = {
            "epochs": (self.epochs, 0.0, False),
            "steps": (self.steps, 1, True),
            "batch_rows": (self.batch_rows, 1, True),
            "learning_rate": (self.learning_rate, 0.0, False),
            "weight_decay": (self.weight_decay, 0.0, True),
            "clip_norm": (self.clip_norm, 0.0, True),
            "heldout_every": (self.heldout_every, 1, True),
            "patience": (self.patience, 1, True),
            "save_every": (self.save_every, 0, True),
            "keep_checkpoints": (self.keep_checkpoints, 1, True),
            "seed": (self.seed, 0, True),
        }
        for name, (value, low, inclusive) in at_least.items():
            if value is not None and not (value >= low if inclusive else value > low):
                found.append((name, f"must be {'at least' if inclusive else 'above'} {low:g}, got {value:g}"))
        if self.keep_best_by == "score" and not self.keep_best and self.patience is None:
            found.append(("keep_best_by", "nothing reads it: keep_best is false and there is no patience"))
        for name, share in {"warmup_share": self.warmup_share, "beta1": self.beta1, "beta2": self.beta2}.items():
            if not 0 <= share < 1:
                found.append((name, f"must be from 0 up to but below 1, got {share:g}"))
        return found
