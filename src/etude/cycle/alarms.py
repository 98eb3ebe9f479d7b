"""Watches of reinforcement and preference learning: what goes wrong there goes wrong quietly.

Each alarm reads figures of the diary; it warns, or it ends the run with the best weights kept. Thresholds are those of
the field's own detectors where it has some (docs/preferences.md names each).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from etude.training.progress import Progress, StopEarly

RATIO_OFF = {"float32": 1e-5, "bfloat16": 0.05}
"""Mean distance of the first update's ratios from 1: the same weights score what they wrote. Figures are sums over
micro-batches and processes, which a greatest distance is not."""
MISMATCH = {"float32": 1e-4, "bfloat16": 0.1}
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
WEIGHTS = (0.5, 2.0)
"""Mean importance weight of what the sampler wrote, between these."""
EFFECTIVE = 0.3
"""Share of the tokens that importance weights leave effective."""
CHI_SQUARED = 1.0
SAMPLER_KL = 0.1
"""Nats a token."""
GOES_WITH_LENGTH = 0.3
"""Correlation of reward and length among answers to one prompt, which its interval must pass."""
WINDOW = 20
"""Updates over which that correlation is taken."""
FEWEST_ANSWERS = 40
"""That such a correlation rests on."""
SURE = 1.96
"""Standard errors of an interval of 95 %."""
NEVER_ENDS = 0.05
"""Share of the first updates' answers that end by themselves."""


LENGTH = "goes_with_length"
"""The correlation's name; `reward_length` would be a term's."""
WATCHED = ("surprise", "answer_tokens", "ended", "kl_now", LENGTH, f"{LENGTH}_over")


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
    _uncredited: int = 0

    def __call__(self, progress: Progress, _: Any) -> None:
        """
        Raises:
            StopEarly: it would only get worse.
        """
        figures = progress.figures
        self._seen.append({name: figures[name] for name in WATCHED if name in figures})
        self._numbers(progress)
        self._first_update(progress)
        self._sampler(figures)
        self._groups(figures)
        self._distance(figures)
        self._drift()
        self._endings()
        self._length()
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
                f"wrote the answers (ratios off 1 by {off:.2g} on average)"
            )
        if apart is not None and apart > MISMATCH[self.precision]:
            self._once("mismatch", f"sampler and scoring differ by {apart:.2g} nats a token on average")

    def _sampler(self, figures: Mapping[str, float]) -> None:
        """verl's thresholds of what is broken, not only rounded."""
        weight, squared = figures.get("sampler_weight"), figures.get("sampler_weight_squared")
        if weight is None or not squared:
            return
        effective, chi, apart = weight**2 / squared, squared - 1, figures.get("sampler_kl", 0.0)
        wrong = [
            says
            for says, found in (
                (f"mean importance weight {weight:.3g}", not WEIGHTS[0] <= weight <= WEIGHTS[1]),
                (f"{effective:.0%} of the tokens effective", effective < EFFECTIVE),
                (f"χ² {chi:.3g}", chi > CHI_SQUARED),
                (f"{apart:.3g} nats a token between them", abs(apart) > SAMPLER_KL),
            )
            if found
        ]
        if wrong:
            self._once("sampler", f"answers were not written by the policy that learns from them ({', '.join(wrong)})")

    def _groups(self, figures: Mapping[str, float]) -> None:
        if "dead_groups" not in figures:
            return
        self._dead = self._dead + 1 if figures["dead_groups"] > DEAD_SHARE else 0
        self._uncredited = self._uncredited + 1 if figures.get("uncredited", 0.0) > 0.5 else 0
        if self._uncredited == FIRST:
            self._once(
                "uncredited",
                f"in {FIRST} updates in a row most answers with different rewards taught nothing: no token of theirs "
                "was credited (with rollouts.learn_unfinished off, answers that were cut teach nothing)",
            )
        if self._dead == DEAD_UPDATES:
            raise StopEarly(
                f"in {DEAD_UPDATES} updates in a row over {DEAD_SHARE:.0%} of the groups had equal rewards: nothing is "
                "learned any more (rollouts.redraw replaces such groups)"
            )

    def _distance(self, figures: Mapping[str, float]) -> None:
        """`kl` is an answer's, `kl_now` a token's, whose estimate one unlikely token can throw far off."""
        found = figures.get("kl", 0.0)
        recent = [one["kl_now"] * one.get("answer_tokens", 1.0) for one in self._seen[-FIRST:] if "kl_now" in one]
        if len(recent) == FIRST:
            found = max(found, median(recent))
        if found > self.most_kl:
            raise StopEarly(f"the policy is {found:.3g} nats an answer away from where it began: too far")

    def _endings(self) -> None:
        """Learning to stop needs answers that stop."""
        shares = [one["ended"] for one in self._seen if "ended" in one]
        if len(shares) < FIRST:
            return
        first, last = sum(shares[:FIRST]) / FIRST, sum(shares[-FIRST:]) / FIRST
        if first < NEVER_ENDS and last < NEVER_ENDS:
            self._once(
                "endless",
                f"{last:.0%} of the answers end by themselves, the others are cut: raise rollouts.max_new_tokens, "
                "or teach the model to stop first",
            )
        elif last < COLLAPSED * first:
            self._once("ended", f"{last:.0%} of the answers end by themselves, {first:.0%} did at first")

    def _length(self) -> None:
        """Pooled over updates by Fisher's z, weighted by what each rests on."""
        seen = [one for one in self._seen[-WINDOW * self.updates_each :: self.updates_each] if LENGTH in one]
        known = [(one[LENGTH], one[f"{LENGTH}_over"] - 2) for one in seen]
        known = [(min(max(r, -0.9999), 0.9999), over) for r, over in known if over > 0]
        total = sum(over for _, over in known)
        if total < FEWEST_ANSWERS:
            return
        middle = sum(over * math.atanh(r) for r, over in known) / total
        low, high = (math.tanh(middle + sign * SURE / math.sqrt(total)) for sign in (-1, 1))
        if low > GOES_WITH_LENGTH or high < -GOES_WITH_LENGTH:
            found = f"{math.tanh(middle):.2f}, {low:.2f} to {high:.2f}"
            self._once(
                "length",
                f"the reward goes with the answer's length (correlation {found} among answers to one prompt): look "
                "whether it pays for length alone",
            )

    def _drift(self) -> None:
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
