"""Watches of reinforcement and preference learning: what goes wrong there goes wrong quietly.

Each alarm reads figures of the diary; it warns, or it ends the run with the best weights kept. Thresholds are those of
the field's own detectors where it has some (docs/rlhf.md names each).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from etude.training.progress import Progress, StopEarly

RATIO_OFF = {"float32": 1e-3, "bfloat16": 0.05}
"""Mean distance of the first update's ratios from 1: the same weights score what they wrote."""
MISMATCH = {"float32": 1e-3, "bfloat16": 0.1}
"""Nats between sampler and scoring on the same token, on average."""
DEAD_SHARE, DEAD_UPDATES = 0.8, 20
COLLAPSED = 0.5
"""Share of the first updates' uncertainty."""
DRIFTED = 2.0
"""Times the first answers' length, up or down."""
FALLING_UPDATES = 20
LOOKS = 3
FIRST = 5
"""Updates whose mean is what later ones are compared with."""
KL_NATS = 30.0
"""Of a whole answer."""


@dataclass
class Alarms:
    """A hook; `say` hears each warning once."""

    say: Callable[[str], None]
    precision: str
    updates_each: int = 1
    """Updates on one batch of answers."""
    most_kl: float = KL_NATS
    rang: list[str] = field(default_factory=list)
    """What was said, in order."""
    _seen: list[Mapping[str, float]] = field(default_factory=list)
    _looks: list[tuple[float, float]] = field(default_factory=list)
    """(proxy reward of training, held-out reward) at each look."""
    _told: set[str] = field(default_factory=set)
    _dead: int = 0
    _falling: int = 0

    def __call__(self, progress: Progress, _: Any) -> None:
        """
        Raises:
            StopEarly: it would only get worse.
        """
        figures = progress.figures
        self._seen.append({name: figures[name] for name in ("surprise", "answer_tokens") if name in figures})
        self._numbers(progress)
        self._first_update(progress)
        self._groups(figures)
        self._drift(figures)
        self._pairs(figures)
        if progress.heldout_loss is not None and "reward" in progress.heldout_figures and "reward" in figures:
            self._looks.append((figures["reward"], progress.heldout_figures["reward"]))
            self._overoptimised()

    def _once(self, name: str, says: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self.rang.append(says)
            self.say(f"alarm: {says}")

    def _numbers(self, progress: Progress) -> None:
        wrong = [name for name, value in progress.figures.items() if math.isnan(value)]
        if wrong:
            self._once("nan", f"update {progress.step}: {', '.join(wrong)} is not a number")

    def _first_update(self, progress: Progress) -> None:
        figures = progress.figures
        is_first = (progress.step - 1) % self.updates_each == 0
        off, apart = figures.get("ratio_off"), figures.get("mismatch")
        if off is not None and is_first and off > RATIO_OFF[self.precision]:
            raise StopEarly(
                f"update {progress.step}: before anything was learned the policy already differs from the one that "
                f"wrote the answers (ratios off 1 by {off:.2g} on average): scoring and bookkeeping disagree"
            )
        if apart is not None and apart > MISMATCH[self.precision]:
            self._once("mismatch", f"sampler and scoring differ by {apart:.2g} nats a token on average")

    def _groups(self, figures: Mapping[str, float]) -> None:
        if "dead_groups" not in figures:
            return
        self._dead = self._dead + 1 if figures["dead_groups"] > DEAD_SHARE else 0
        if self._dead == DEAD_UPDATES:
            raise StopEarly(
                f"in {DEAD_UPDATES} updates in a row over {DEAD_SHARE:.0%} of the groups had equal rewards: nothing is "
                "learned any more (rollouts.redraw replaces such groups)"
            )

    def _drift(self, figures: Mapping[str, float]) -> None:
        if "kl" in figures and figures["kl"] > self.most_kl:
            raise StopEarly(f"the policy is {figures['kl']:.3g} nats an answer away from where it began: too far")
        if len(self._seen) <= FIRST:
            return
        for name, says in (("surprise", "the policy's uncertainty"), ("answer_tokens", "the answers' length")):
            first = [one[name] for one in self._seen[:FIRST] if name in one]
            last = [one[name] for one in self._seen[-FIRST:] if name in one]
            if not first or not last or not sum(first):
                continue
            share = (sum(last) / len(last)) / (sum(first) / len(first))
            if name == "surprise" and share < COLLAPSED:
                self._once(name, f"{says} fell to {share:.0%} of what it was: it soon writes one answer only")
            if name == "answer_tokens" and not 1 / DRIFTED < share < DRIFTED:
                self._once(name, f"{says} is {share:.0%} of what it was: look whether the reward pays for length")

    def _pairs(self, figures: Mapping[str, float]) -> None:
        if "chosen" not in figures or "rejected" not in figures:
            return
        both = figures["chosen"] < 0 and figures["rejected"] < 0
        self._falling = self._falling + 1 if both else 0
        if self._falling == FALLING_UPDATES:
            self._once(
                "falling",
                f"for {FALLING_UPDATES} updates chosen answers have become less likely too, not only rejected ones: "
                "objective.nll or a lower learning rate holds them",
            )

    def _overoptimised(self) -> None:
        if len(self._looks) <= LOOKS:
            return
        last = self._looks[-LOOKS - 1 :]
        up = all(later[0] > earlier[0] for earlier, later in pairwise(last))
        down = all(later[1] < earlier[1] for earlier, later in pairwise(last))
        if up and down:
            raise StopEarly(
                f"in {LOOKS} looks in a row the reward rose in training and fell on held-out prompts: the reward is "
                "being exploited; the best weights are kept"
            )
