"""Verdicts: reports on the same items become one answer with its uncertainty; and the file that keeps them.

The rule by which evidence becomes an answer is `judgement`'s; which test fits which scores is `pairing`'s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from etude import durable
from etude.comparison.families import BestOfEach
from etude.comparison.gap import Gap
from etude.comparison.gates import GateResult
from etude.comparison.judgement import UNDECIDED, Answer, Judgement, judge
from etude.comparison.one_seed import ONE_SEED
from etude.comparison.pairing import Paired, Side, models, pair
from etude.comparison.seeds import SeedSpread
from etude.comparison.wording import Scale, round_up, shown_level, shown_p
from etude.errors import EtudeError
from etude.evaluation.intervals import RESAMPLES
from etude.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tuned model compares with the base on one task.

    `difference`, `low` and `high` are gains: positive is better whatever the metric's direction. `base` and `tuned` are
    the plain scores.
    """

    task: str
    metric: str
    n: int
    """Items compared."""
    base: float
    tuned: float
    difference: float
    low: float
    high: float
    level: float
    """Of the interval; above the level asked for when several comparisons share it."""
    p_value: float
    """Two-sided, for no difference (with a smallest gain: for anything from none to it); adjusted for several."""
    method: str
    answer: Answer
    smallest_gain: float = 0.0
    """The gain that matters; a difference shown to be smaller either way is `equivalent`."""
    detectable: float | None = None
    """The gain that a comparison with as many items calls better four times in five; None where that is not known."""
    higher_is_better: bool = True
    details: Mapping[str, int] = field(default_factory=dict)
    """McNemar: items right in both, only_base, only_tuned, neither; bootstrap: tuned_better, base_better, equal."""
    base_subject: str = ""
    tuned_subject: str = ""
    comparisons: int = 1
    """How many comparisons shared the error level."""
    groups: int | None = None
    """How many groups the items make, where they are not independent."""
    left_out: int = 0
    """Items without a score on one side or the other."""
    rows_enough: int | None = None
    """Undecided: how many items would decide it four times in five, if what was seen is what there is."""
    seeds: SeedSpread | None = None
    """What training from other seeds adds to the uncertainty, where several models were given."""
    one_seed_each: bool = False
    """Whether two single trained models were compared, so that seeds alone may have made the difference."""

    @property
    def better(self) -> bool:
        return self.answer == "better"

    @property
    def scale(self) -> Scale:
        """How its numbers are written."""
        return Scale.of(self.metric, higher_is_better=self.higher_is_better)

    def sentence(self) -> str:
        """The verdict as a person would say it, with its uncertainty."""
        scale = self.scale
        among = f", Holm-corrected among {self.comparisons}" if self.comparisons > 1 else ""
        groups = f" in {self.groups:,} groups" if self.groups is not None else ""
        base, tuned = scale.score(self.base), scale.score(self.tuned)
        line = (
            f"{self.answer}: {self.metric} on {self.task} went from {base} to {tuned}"
            f" (gain {scale.interval(self.difference, self.low, self.high)}, {shown_level(self.level)} interval;"
            f" {shown_p(self.p_value)} by {self.method}{among}; n = {self.n:,}{groups})"
        )
        return "; ".join([line, *self.notes()])

    def notes(self) -> list[str]:
        """What stands behind the answer: why it is open and what would close it, seeds, items left out."""
        scale, found = self.scale, []
        if self.answer == "equivalent":
            found.append(f"less than {scale.amount(self.smallest_gain)} either way")
        if self.answer == UNDECIDED:
            found += self._why_not()
        if self.seeds is not None:
            found.append(self.seeds.sentence(scale.factor, scale.unit))
        if self.one_seed_each and self.answer in ("better", "worse"):
            found.append(ONE_SEED)
        if self.left_out:
            found.append(f"{self.left_out:,} items left out, without a score on one side or the other")
        return found

    def _why_not(self) -> list[str]:
        scale, found = self.scale, []
        if self.low > 0:
            found.append(f"a gain, but it may be smaller than the {scale.gain(self.smallest_gain)} asked for")
        elif self.detectable is not None:
            found.append(f"this many items would have shown a gain of {scale.gain(self.detectable)} four times in five")
        if self.rows_enough is not None:
            found.append(f"if the difference is what was seen, about {round_up(self.rows_enough):,} items would decide")
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        seeds = values.get("seeds")
        return cls(**{**values, "seeds": None if seeds is None else SeedSpread(**seeds)})


def compare(
    tuned: Side,
    base: Side,
    *,
    level: float = 0.95,
    smallest_gain: float = 0.0,
    metric: str | None = None,
    seed: int = 0,
) -> Verdict:
    """Pair reports item by item and answer whether `tuned` is better; a side may be several seeds' reports.

    `smallest_gain` is the gain that would matter, in the metric's unit (0.01: one percentage point); with it the answer
    can also be `equivalent`. `metric` picks another item score than the task's primary one. Raises Problems that name
    all that makes the reports incomparable.
    """
    return compare_all(
        [(tuned, base)],
        level=level,
        smallest_gain=smallest_gain,
        metrics=None if metric is None else [metric],
        seed=seed,
    )[0]


def compare_all(
    pairs: Sequence[tuple[Side, Side]],
    *,
    level: float = 0.95,
    smallest_gain: float = 0.0,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    both_trained: bool = False,
    seed_deviation: float | None = None,
) -> tuple[Verdict, ...]:
    """A verdict for each (tuned, base) pair, Holm-corrected from two on; `metrics` names the score of each pair.

    `both_trained` says that the bases are trained models too: of two single ones the verdict then says that it is about
    models and not about settings. With `seed_deviation` (how far scores of such settings lie apart between seeds, in
    the metric's unit) the intervals are widened to what holds for the settings.
    """
    refuse_level(level)
    if seed_deviation is not None and not 0 < seed_deviation < math.inf:
        raise EtudeError(f"must be above 0, got {seed_deviation:g}", where="seed_deviation")
    if not smallest_gain >= 0:
        raise EtudeError(f"must be at least 0, got {smallest_gain:g}", where="smallest_gain")
    chosen = [models(tuned)[0].metric for tuned, _ in pairs] if metrics is None else list(metrics)
    # Small shares of the error need more resamples to be told apart.
    resamples = max(RESAMPLES, math.ceil(50 * len(pairs) / (1 - level)))
    found = [
        pair(tuned, base, metric, resamples=resamples, seed=seed, seed_deviation=seed_deviation)
        for (tuned, base), metric in zip(pairs, chosen, strict=True)
    ]
    judged = judge([one.evidence for one in found], level=level, margin=smallest_gain)
    verdicts = [
        _verdict(sides, metric, one, answer, smallest_gain, len(pairs))
        for sides, metric, one, answer in zip(pairs, chosen, found, judged, strict=True)
    ]
    alone = both_trained and seed_deviation is None
    return tuple(replace(one, one_seed_each=alone and one.seeds is None) for one in verdicts)


def compare_best(
    tuned: Sequence[Report],
    base: Sequence[Report],
    *,
    choices: tuple[int, int] | None = None,
    level: float = 0.95,
    smallest_gain: float = 0.0,
    seed: int = 0,
) -> Verdict:
    """The first of `tuned` against the first of `base`, each chosen because it looks best of its side on these items.

    The answer holds for the best of either side: see `families`. `choices` says how many could have been chosen a side,
    where those were more than were measured. Raises what `compare` raises.
    """
    refuse_level(level)
    metric, numbers = tuned[0].metric, choices or (len(tuned), len(base))
    # Small shares of the error need more resamples to be told apart.
    resamples = max(RESAMPLES, math.ceil(50 * max(numbers) / (1 - level)))
    chosen = pair(tuned[0], base[0], metric, resamples=resamples, seed=seed)
    others = [pair(tuned[0], one, metric, resamples=resamples, seed=seed).evidence for one in base[1:]]
    rivals = [pair(one, base[0], metric, resamples=resamples, seed=seed).evidence for one in tuned[1:]]
    evidence = BestOfEach((chosen.evidence, *others), (chosen.evidence, *rivals), *numbers)
    [judged] = judge([evidence], level=level, margin=smallest_gain)
    return _verdict((tuned[0], base[0]), metric, replace(chosen, evidence=evidence), judged, smallest_gain, 1)


def refuse_level(level: float) -> None:
    """EtudeError for a confidence level that is none."""
    if not 0.5 <= level <= 0.9999:
        raise EtudeError(f"must be from 0.5 to 0.9999, got {level:g}", where="level")


def _verdict(
    sides: tuple[Side, Side], metric: str, found: Paired, judged: Judgement, smallest_gain: float, comparisons: int
) -> Verdict:
    tuned, base = (models(side)[0] for side in sides)
    return Verdict(
        task=tuned.task,
        metric=metric,
        n=found.n,
        base=found.base,
        tuned=found.tuned,
        difference=found.evidence.difference,
        low=judged.low,
        high=judged.high,
        level=judged.level,
        p_value=judged.p_value,
        method=found.evidence.method,
        answer=judged.answer,
        smallest_gain=smallest_gain,
        detectable=judged.detectable,
        higher_is_better=tuned.higher_is_better,
        details=dict(found.evidence.details),
        base_subject=base.subject,
        tuned_subject=tuned.subject,
        comparisons=comparisons,
        groups=found.groups,
        left_out=found.left_out,
        rows_enough=judged.rows_enough,
        seeds=found.spread,
    )


def save_verdicts(
    path: str | Path, verdicts: Sequence[Verdict], gap: Gap | None = None, gates: Sequence[GateResult] = ()
) -> None:
    """Write `verdict.json`: {"verdicts": [...], "gap": {...} or null, "gates": [...]}."""
    held = {
        "verdicts": [verdict.as_dict() for verdict in verdicts],
        "gap": None if gap is None else gap.as_dict(),
        "gates": [result.as_dict() for result in gates],
    }
    durable.write_json(Path(path), held)


def load_verdicts(path: str | Path) -> tuple[tuple[Verdict, ...], Gap | None]:
    """Read `verdict.json`; EtudeError when it is missing or damaged."""
    file = Path(path)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        gap = None if held["gap"] is None else Gap.from_dict(held["gap"])
        return tuple(Verdict.from_dict(values) for values in held["verdicts"]), gap
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EtudeError(f"is not a whole verdict file ({error})", where=str(file)) from error


def load_gates(path: str | Path) -> tuple[GateResult, ...]:
    """The gates in `verdict.json`, none in those of runs without any; EtudeError when it is missing or damaged."""
    file = Path(path)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return tuple(GateResult(**values) for values in held.get("gates", ()))
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise EtudeError(f"is not a whole verdict file ({error})", where=str(file)) from error
