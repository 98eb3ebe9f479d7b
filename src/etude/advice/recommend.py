"""From measured arms to a recommendation in plain words. Pure: the same arms give the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from etude.advice.arms import Arm, break_even, total_cost
from etude.advice.curve import LearningCurve
from etude.comparison.judgement import UNDECIDED
from etude.comparison.verdict import Verdict

ALPHA = 0.05
"""Chance of a false claim: that the best of a kind is better or as good, or that a way reaches the target."""
TUNED_DRAWBACKS = (
    "Staleness: what changes (labels, rules, facts) has to be learned again; a prompt is changed in a minute.",
    "Forgetting: training on one task costs others; etude train measures it (retention), look before you ship.",
    "Maintenance: a model of your own has to be served, watched and trained again for each new base model.",
)
PROMPT_DRAWBACKS = (
    "Every request pays for the whole prompt, examples and passages included.",
    "A model that a provider serves may change or go away under you; keep these items to measure it again.",
)
RETRIEVAL_DRAWBACK = "An index has to be kept up to date, and wrong passages give wrong answers."


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What counts for the person who asks."""

    matters: float = 0.02
    """Difference in quality below which cost decides."""
    target: float | None = None
    """Quality that is enough."""
    requests: float | None = None
    """Requests over the time in which the one-off cost must pay."""


class Judge(Protocol):
    """Says what the items' scores show of arms; all arms were asked the same items."""

    def compared(self, tuned: Sequence[Arm], prompted: Sequence[Arm]) -> Verdict:
        """The first of one kind against the first of the other, corrected for having been chosen on these items."""
        ...

    def interval(self, arm: Arm, level: float) -> tuple[float, float]:
        """Of the arm's score."""
        ...


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do, and why."""

    arm: str
    """Name of the recommended arm."""
    sentence: str
    reasons: tuple[str, ...]
    drawbacks: tuple[str, ...]
    pays_from: float | None
    """Requests from which on fine-tuning is the cheaper way; None: never, or nobody knows the costs."""
    verdict: Verdict | None = None
    """The best fine-tuned model against the best prompted one; None where one of them is not there."""
    decided: bool = True
    """False: what is recommended is for now, until more items decide."""


@dataclass(frozen=True)
class Advice:
    """What was measured, and what follows."""

    task: str
    arms: tuple[Arm, ...]
    """The best first."""
    bases: tuple[Arm, ...]
    """Each base model as it is and after the same short training, where there are several."""
    recommendation: Recommendation
    curve: LearningCurve | None
    wishes: Wishes
    notes: tuple[str, ...] = ()


def recommend(
    arms: Sequence[Arm],
    judge: Judge,
    wishes: Wishes,
    curve: LearningCurve | None = None,
    bases: Sequence[Arm] = (),
) -> Recommendation:
    """The arm to take. There must be one at least; `bases` are those by which one of several base models was chosen."""
    all_tuned, all_prompted = (ranked([arm for arm in arms if arm.is_tuned is kind]) for kind in (True, False))
    enough = _cheapest_on_target(arms, judge, wishes)
    about_target = [] if wishes.target is None else [_about_target(enough, wishes.target)]
    if not all_tuned or not all_prompted:
        only = [*all_tuned, *all_prompted][0]
        sentence = f"Of what was measured {only.title} is the best; no other kind of way was there to compare it with."
        return Recommendation(
            (enough or only).name, sentence if enough is None else _enough(enough),
            (_measured(only), *about_target, *_about_bases(bases)), drawbacks(enough or only), None,
        )  # fmt: skip
    tuned, prompted = all_tuned[0], all_prompted[0]
    pays = break_even(tuned, prompted)
    found = judge.compared(all_tuned, all_prompted)
    reasons = [_measured(tuned), _measured(prompted), *_compared(found, len(all_tuned), len(all_prompted))]
    reasons += about_target
    chosen = enough or _chosen(found, tuned, prompted, wishes)
    reasons += [*_about_bases(bases), *_costs(tuned, prompted, pays, wishes)]
    reasons += _more_rows(curve, wishes)
    decided = enough is not None or found.answer != UNDECIDED
    sentence = _sentence(chosen, found) if enough is None else _enough(enough)
    return Recommendation(chosen.name, sentence, tuple(reasons), drawbacks(chosen), pays, found, decided)


def ranked(arms: Sequence[Arm]) -> list[Arm]:
    """The best score first; of equal ones the cheaper, then the one with the shorter prompt."""
    return sorted(arms, key=lambda arm: (-arm.quality, arm.cost or 0, arm.prompt_tokens))


def best(arms: Sequence[Arm]) -> Arm | None:
    """The first of the ranked ones."""
    return next(iter(ranked(arms)), None)


def _chosen(found: Verdict, tuned: Arm, prompted: Arm, wishes: Wishes) -> Arm:
    """By quality where it differs, else by cost, else the one that needs no training."""
    if found.answer == "better":
        return tuned
    if found.answer == "worse":
        return prompted
    totals = [total_cost(arm, wishes.requests) if wishes.requests is not None else None for arm in (tuned, prompted)]
    cheaper = totals[0] is not None and totals[1] is not None and totals[0] < totals[1]
    return tuned if cheaper and found.answer == "equivalent" else prompted


def _cheapest_on_target(arms: Sequence[Arm], judge: Judge, wishes: Wishes) -> Arm | None:
    """Of the arms that reach the target with their whole interval the cheapest, or the one without training.

    Any of the arms may reach it by luck, so the intervals hold for all of them together (Bonferroni).
    """
    if wishes.target is None:
        return None
    level = 1 - ALPHA / len(arms)
    reach = [arm for arm in arms if _reaches(arm, judge.interval(arm, level), wishes.target)]
    requests = wishes.requests or 0

    def price(arm: Arm) -> tuple[float, bool, float]:
        total = total_cost(arm, requests)
        return (float("inf") if total is None else total, arm.is_tuned, arm.prompt_tokens)

    return min(reach, key=price, default=None)


def _reaches(arm: Arm, interval: tuple[float, float], target: float) -> bool:
    return interval[0] >= target if arm.higher_is_better else interval[1] <= target


def _enough(arm: Arm) -> str:
    return f"{arm.title} reaches what you asked for" + ("." if arm.is_tuned else ", so prompting is enough.")


def _sentence(chosen: Arm, found: Verdict) -> str:
    if chosen.is_tuned:
        why = "it is better by more than chance" if found.better else "it is as good, and cheaper at your volume"
        return f"Fine-tune: {chosen.title}; {why}."
    if found.answer == UNDECIDED:
        return (
            f"Not decided: these items do not show that fine-tuning is better; for now take {chosen.title}, "
            "which needs no training, and measure more items."
        )
    return f"Prompting is enough: take {chosen.title}."


def shown_score(arm: Arm, value: float) -> str:
    """A share in percent, anything else with three digits."""
    return f"{100 * value:.1f} %" if arm.higher_is_better and 0 <= value <= 1 else f"{value:.3g}"


def _measured(arm: Arm) -> str:
    low, high = arm.interval
    ends = f"{shown_score(arm, low)} to {shown_score(arm, high)}"
    return f"{arm.title}: {shown_score(arm, arm.score)} ({ends}; n = {arm.items:,})."


def _compared(found: Verdict, tuned: int, prompted: int) -> list[str]:
    scale = found.scale
    gain = scale.interval(found.difference, found.low, found.high)
    says = {
        "better": f"Item by item the fine-tuned model is better: {gain}.",
        "worse": f"Item by item the fine-tuned model is worse: {gain}.",
        "equivalent": f"The two differ by less than matters to you: {gain}.",
        UNDECIDED: f"What lies between them may be chance: {gain}.",
    }
    least = scale.amount(found.smallest_gain)
    matters = f" Differences below {least} were not to count." if found.smallest_gain else ""
    holds = (
        f"That interval holds although the best of {tuned} fine-tuned and of {prompted} prompted ways were "
        "chosen on these items."
    )
    open_still = [f"{note[0].upper()}{note[1:]}." for note in found.notes()] if found.answer == UNDECIDED else []
    return [f"{says[found.answer]}{matters}", *([holds] if tuned + prompted > 2 else []), *open_still]


def _about_bases(bases: Sequence[Arm]) -> list[str]:
    """Which base model went on, and why."""
    if not bases:
        return []
    first, *others = ranked(contenders(bases))
    after = f"after the same training on {first.rows:,} rows" if first.is_tuned else "as they are"
    against = ", ".join(f"{arm.model} {shown_score(arm, arm.score)}" for arm in others)
    return [
        f"Of the base models {after} {first.model} was the best ({shown_score(first, first.score)}; {against}), so the "
        "other ways were measured with it alone."
    ]


def contenders(bases: Sequence[Arm]) -> list[Arm]:
    """The arms by which a base model is chosen: after the short training, or as they are where nothing was learned."""
    return [arm for arm in bases if arm.is_tuned] or list(bases)


def _about_target(enough: Arm | None, target: float) -> str:
    if enough is None:
        return f"No arm surely reaches the {100 * target:g} % that you asked for."
    return f"{enough.title} is the cheapest that surely reaches the {100 * target:g} % that you asked for."


def _costs(tuned: Arm, prompted: Arm, pays: float | None, wishes: Wishes) -> list[str]:
    if tuned.cost is None or prompted.cost is None:
        return ["What the requests cost is not known: give --price-per-hour, and prices in the endpoint's file."]
    each = f"1,000 requests cost {tuned.cost:.3g} fine-tuned and {prompted.cost:.3g} prompted"
    if pays is None:
        return [f"{each}; fine-tuning costs {tuned.one_off:.3g} before the first one and never pays by cost alone."]
    if pays == 0:
        return [f"{each}; fine-tuning is the cheaper way from the first request on."]
    at = "" if wishes.requests is None else f"; you expect {wishes.requests:,.0f}"
    return [f"{each}; the {tuned.one_off:.3g} of fine-tuning are paid back after {pays:,.0f} requests{at}."]


def _more_rows(curve: LearningCurve | None, wishes: Wishes) -> list[str]:
    if curve is None or not curve.predicted:
        return []
    last, ahead = curve.scores[-1], curve.predicted[0]
    says = (
        f"With {ahead.rows:,} rows in the place of {curve.rows[-1]:,} about {100 * ahead.score:.1f} % are to be "
        f"expected ({100 * ahead.low:.1f} to {100 * ahead.high:.1f} %)"
    )
    worth = "more rows are worth it" if ahead.low > last + wishes.matters else "that alone is no reason to label more"
    return [f"{says}: {worth}."]


def drawbacks(arm: Arm) -> tuple[str, ...]:
    """What comes with the choice."""
    found = TUNED_DRAWBACKS if arm.is_tuned else PROMPT_DRAWBACKS
    return (*found, RETRIEVAL_DRAWBACK) if "retrieval" in arm.way else found
