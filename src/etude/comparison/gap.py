"""Overfitting as a figure: how much better the model knows what it was trained on than what it has never seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etude.errors import EtudeError
from etude.evaluation.intervals import RESAMPLES, resampled_ratios


@dataclass(frozen=True, slots=True)
class Gap:
    """Held-out loss minus training loss, with its interval."""

    train_loss: float
    heldout_loss: float
    gap: float
    low: float
    high: float
    level: float
    n_train: int
    """Rows."""
    n_heldout: int
    smallest_gap: float = 0.0
    """Gaps up to this are taken for harmless."""
    unit: str = "nats per token"

    @property
    def overfits(self) -> bool:
        return self.low > self.smallest_gap

    @property
    def answer(self) -> str:
        return "overfits" if self.overfits else "no sign of overfitting"

    def sentence(self) -> str:
        """The figure as a person would say it."""
        return (
            f"{self.answer}: {self.heldout_loss:.4f} {self.unit} held out against {self.train_loss:.4f} in training"
            f" (gap {self.gap:+.4f}, {100 * self.level:.4g} % interval {self.low:+.4f} to {self.high:+.4f},"
            f" {self.n_heldout} and {self.n_train} rows)"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return {**asdict(self), "answer": self.answer}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Gap:
        return cls(**{name: value for name, value in values.items() if name != "answer"})


Rows = Sequence[tuple[float, float]]


def measure_gap(
    train: Rows,
    heldout: Rows,
    *,
    level: float = 0.95,
    smallest_gap: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gap:
    """Two-sample bootstrap over rows, each a pair (summed nats, learned tokens); both losses are ratios of sums.

    The percentile interval is expanded for small samples as in `evaluation.intervals`. Raises EtudeError for fewer than
    two rows on a side, a row without tokens, or a loss that is not finite.
    """
    import numpy as np
    from scipy.special import ndtr, stdtrit

    draws, losses = [], []
    for place, (name, rows) in enumerate((("training", train), ("held-out", heldout))):
        values = np.asarray(rows, dtype=np.float64).reshape(-1, 2)
        _check(name, values.tolist())
        losses.append(float(values[:, 0].sum() / values[:, 1].sum()))
        draws.append(resampled_ratios(values[:, 0], values[:, 1], resamples=resamples, seed=2 * seed + place))
    n = min(len(train), len(heldout))
    z = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(n / (n - 1))
    low, high = np.quantile(draws[1] - draws[0], [float(ndtr(-z)), float(ndtr(z))])
    return Gap(
        train_loss=losses[0],
        heldout_loss=losses[1],
        gap=losses[1] - losses[0],
        low=float(low),
        high=float(high),
        level=level,
        n_train=len(train),
        n_heldout=len(heldout),
        smallest_gap=smallest_gap,
    )


def _check(name: str, rows: list[list[float]]) -> None:
    if len(rows) < 2:
        raise EtudeError(f"{len(rows)} {name} rows; the overfitting figure needs at least two")
    if any(tokens <= 0 or not math.isfinite(nats) for nats, tokens in rows):
        raise EtudeError(f"a {name} row has no learned tokens or a loss that is not finite")
