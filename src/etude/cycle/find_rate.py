"""A learning rate by trying them all: it rises by equal factors until the loss does (https://arxiv.org/abs/1506.01186)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from etude.config import RunFile
from etude.cycle.show import Quiet, Show
from etude.cycle.sources import prepare_policy
from etude.errors import EtudeError
from etude.techniques.policy import Policy
from etude.training.loop import train
from etude.training.progress import Progress

HIGHEST = 1.0
"""The last rate tried, at most."""
SMOOTHING = 0.85
WORSE_BY = 1.0
"""Nats above the best smoothed loss at which there is no more to learn."""
SAFETY = 10.0
"""The suggestion stays so many times below the rate of the lowest loss, which is where training begins to diverge."""


class _Enough(Exception):
    """The loss rises for good."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What was tried, and what follows from it."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed, nats."""
    suggestion: float
    """A tenth of `highest`."""
    highest: float
    """Where the loss is lowest: from about here on training diverges."""


def find_rate(run_file: RunFile, *, steps: int = 100, show: Show | None = None) -> Rates:
    """Trains on rising rates, writes nothing, and throws the weights away.

    Raises:
        EtudeError: the loss never fell.
    """
    show = show or Quiet()
    policy, source = prepare_policy(run_file, show)
    options = replace(
        run_file.training, steps=steps, epochs=None, schedule="rising", learning_rate=HIGHEST, warmup_share=0.0,
        patience=None, keep_best=False, heldout_every=None, save_every=0,
    )  # fmt: skip
    rates: list[float] = []
    losses: list[float] = []
    state = {"mean": 0.0, "best": float("inf")}

    def note(progress: Progress, _policy: Policy) -> None:
        state["mean"] = SMOOTHING * state["mean"] + (1 - SMOOTHING) * progress.loss
        smoothed = state["mean"] / (1 - SMOOTHING**progress.step)
        rates.append(progress.learning_rate)
        losses.append(smoothed)
        state["best"] = min(state["best"], smoothed)
        if not smoothed < state["best"] + WORSE_BY:
            raise _Enough

    with show.progress("trying learning rates") as on_progress:

        def tell(progress: Progress, _policy: Policy) -> None:
            on_progress(progress.step, progress.num_steps)

        with suppress(_Enough):
            train(policy, source, run_file.objective, options=options, hooks=[tell, note])
    return judged(rates, losses)


def judged(rates: list[float], losses: list[float]) -> Rates:
    """The suggestion from a curve of smoothed losses over rising rates.

    Raises:
        EtudeError: the loss never fell.
    """
    lowest = min(range(len(losses)), key=losses.__getitem__)
    if not losses[lowest] < losses[0]:
        raise EtudeError("the loss never fell: no rate can be suggested", remedy="try more --steps, look at the rows")
    return Rates(tuple(rates), tuple(losses), rates[lowest] / SAFETY, rates[lowest])
