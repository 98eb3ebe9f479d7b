"""Parts of an evaluation's items, and which of them are worse than the rest by more than chance. Pure.

Every slice is held against all items outside it, one-sided (is it worse?), and all slices together share one level by
Holm's procedure. Shares are compared by Fisher's exact test, other scores by permutation; where items come in groups
that are not independent, by a t test of group sums. Slices are drawn without looking at the scores, so that testing
them on those scores is fair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.comparison.judgement import step_down
from etude.evaluation.intervals import clusters, mean_interval, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 5
"""Items of a slice; fewer can hardly be told from chance."""
MOST_VALUES = 200
"""Values of an attribute; more are no attribute but a text."""
BANDS = 4
MADE = ("topic", "length", "wanted length")
"""Attributes that no row has, but that its text was given."""
PERMUTATIONS = 20_000
AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """Items that have one value of one attribute."""

    attribute: str
    value: str
    items: tuple[int, ...]
    """Their places."""

    @property
    def name(self) -> str:
        """By which commands name it."""
        return f"{self.attribute}={self.value}"


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a candidate."""

    candidate: Candidate
    mean: float
    interval: tuple[float, float]
    """95 % interval of its mean."""
    rest: float
    """Mean of all other items."""
    difference: float
    """By how much it is worse than the rest; above 0 is worse, whatever the metric."""
    difference_interval: tuple[float, float]
    """95 % interval of that."""
    p_value: float
    """That it is no worse, Holm-corrected for all slices."""
    is_worse: bool


def by_value(attribute: str, values: Sequence[str | None], *, fewest: int = FEWEST) -> list[Candidate]:
    """A candidate for each value that some but not all items have; none for an attribute with very many values."""
    places: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        if value is not None:
            places.setdefault(value, []).append(place)
    if not 2 <= len(places) <= MOST_VALUES:
        return []
    return [
        Candidate(attribute, value, tuple(held))
        for value, held in sorted(places.items())
        if fewest <= len(held) <= len(values) - fewest
    ]


def by_size(attribute: str, sizes: Sequence[int], unit: str) -> list[Candidate]:
    """Items in bands of about equal number, from the smallest size to the largest."""
    ordered = sorted(sizes)
    ends = sorted({ordered[-(-len(ordered) * part // BANDS) - 1] for part in range(1, BANDS + 1)})
    values = []
    for size in sizes:
        at = next(place for place, end in enumerate(ends) if size <= end)
        low = ordered[0] if at == 0 else ends[at - 1] + 1
        values.append(f"{low} to {ends[at]} {unit}")
    return by_value(attribute, values)


def compared_with_rest(
    candidates: Sequence[Candidate],
    scores: Sequence[float],
    *,
    groups: Sequence[str | None] | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    seed: int = 0,
) -> list[Tested]:
    """Every candidate, the surest first. `groups` says which items are not independent."""
    import numpy as np

    candidates = [one for one in candidates if _can_be_told(one, groups)]
    if not candidates:
        return []
    loss = np.asarray(scores, dtype=np.float64) * (-1 if higher_is_better else 1)
    member = np.zeros((len(candidates), len(loss)), dtype=bool)
    for place, one in enumerate(candidates):
        member[place, list(one.items)] = True
    number = clusters(groups, len(loss))
    is_share = bool(np.isin(scores, (0, 1)).all())
    if number is not None:
        p_values = [_grouped_p(loss, inside, number) for inside in member]
    elif is_share:
        p_values = [_fisher_p(loss, inside) for inside in member]
    else:
        p_values = _permutation_p(loss, member, seed)
    held = step_down([(p,) for p in p_values], alpha)
    made = []
    for one, inside, holm in zip(candidates, member, held, strict=True):
        values = [scores[place] for place in one.items]
        own = None if groups is None else [groups[place] for place in one.items]
        made.append(
            Tested(
                candidate=one,
                mean=float(np.mean(values)),
                interval=mean_interval(values, groups=own),
                rest=float(np.asarray(scores)[~inside].mean()),
                difference=float(loss[inside].mean() - loss[~inside].mean()),
                difference_interval=_difference_interval(loss, inside, number, is_share=is_share),
                p_value=holm.adjusted,
                is_worse=holm.rejected[0],
            )
        )
    return sorted(made, key=lambda one: (one.p_value, -one.difference, one.candidate.name))


def _can_be_told(one: Candidate, groups: Sequence[str | None] | None) -> bool:
    """Whether inside and outside there are at least two that are independent of each other."""
    if groups is None:
        return True
    held = set(one.items)
    for side in (held, set(range(len(groups))) - held):
        if len({place if groups[place] is None else groups[place] for place in side}) < 2:
            return False
    return True


def _fisher_p(loss: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    from scipy.stats import fisher_exact

    worst = loss == loss.max()
    table = [
        [int((worst & inside).sum()), int((~worst & inside).sum())],
        [int((worst & ~inside).sum()), int((~worst & ~inside).sum())],
    ]
    return float(fisher_exact(table, alternative="greater").pvalue) if loss.max() > loss.min() else 1.0


def _permutation_p(loss: NDArray[np.float64], member: NDArray[np.bool_], seed: int) -> list[float]:
    """How often a random choice of as many items does as badly; each choice serves all slices."""
    import numpy as np

    dice = np.random.default_rng(seed)
    chosen = member.T.astype(np.float64)
    seen = loss @ chosen
    slack = 1e-9 * max(1.0, float(np.abs(seen).max()))
    as_bad = np.zeros(len(member), dtype=np.int64)
    for _ in range(PERMUTATIONS // AT_ONCE):
        shuffled = dice.permuted(np.tile(loss, (AT_ONCE, 1)), axis=1)
        as_bad += (shuffled @ chosen >= seen - slack).sum(axis=0)
    return [float(p) for p in (as_bad + 1) / (PERMUTATIONS + 1)]


def _grouped_p(loss: NDArray[np.float64], inside: NDArray[np.bool_], number: NDArray[np.int64]) -> float:
    from scipy.special import stdtr

    difference, error, freedom = _linearised(loss, inside, number)
    if not math.isfinite(error):
        return 1.0
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return float(stdtr(freedom, -difference / error))


def _linearised(
    loss: NDArray[np.float64], inside: NDArray[np.bool_], number: NDArray[np.int64] | None
) -> tuple[float, float, int]:
    """(difference of means, its standard error over groups, degrees of freedom of the side with fewer groups).

    The usual linearisation of a ratio in samples of clusters (Cochran 1977, Sampling Techniques, 6.13). The error is
    infinite where a side has a single group.
    """
    import numpy as np

    own = np.arange(len(loss)) if number is None else number
    difference = float(loss[inside].mean() - loss[~inside].mean())
    fewest = len(loss)
    pulls = np.zeros(int(own.max()) + 1)
    for side, sign in ((inside, 1.0), (~inside, -1.0)):
        of_side = np.bincount(own[side], weights=loss[side] - loss[side].mean(), minlength=len(pulls)) / side.sum()
        count = len(np.unique(own[side]))
        if count < 2:
            return difference, math.inf, 1
        fewest = min(fewest, count)
        pulls += sign * of_side * math.sqrt(count / (count - 1))
    return difference, math.sqrt(float((pulls**2).sum())), fewest - 1


def _difference_interval(
    loss: NDArray[np.float64], inside: NDArray[np.bool_], number: NDArray[np.int64] | None, *, is_share: bool
) -> tuple[float, float]:
    """95 % interval of the difference: Newcombe's for two shares (1998, method 10), else Student's t."""
    from scipy.special import stdtrit

    if number is None and is_share:
        worst = loss == max(0.0, float(loss.max()))
        sides = [(int((worst & side).sum()), int(side.sum())) for side in (inside, ~inside)]
        (own, rest), (own_ends, rest_ends) = [hits / n for hits, n in sides], [wilson(hits, n) for hits, n in sides]
        difference = own - rest
        low = difference - math.hypot(own - own_ends[0], rest_ends[1] - rest)
        return low, difference + math.hypot(own_ends[1] - own, rest - rest_ends[0])
    difference, error, freedom = _linearised(loss, inside, number)
    half = float(stdtrit(freedom, 0.975)) * error if math.isfinite(error) else math.inf
    return difference - half, difference + half


def overlaps(tested: Sequence[Tested]) -> Mapping[str, str]:
    """Name of each worse slice that is mostly another one → that one's name; topics and sizes give way to the rest."""
    found: dict[str, str] = {}
    kept: list[Candidate] = []
    worse = [each.candidate for each in tested if each.is_worse]
    for one in sorted(worse, key=lambda one: one.attribute in MADE):
        own = set(one.items)
        twin = next((other for other in kept if _alike(own, set(other.items)) >= 0.5), None)
        if twin is None:
            kept.append(one)
        else:
            found[one.name] = twin.name
    return found


def _alike(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other)
