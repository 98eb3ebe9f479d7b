"""Which way round the labels of preference pairs, or of judged answers, are: what can be known of it before training.

Pairs alone cannot tell: with all labels swapped, everything that is learned from them is consistent, only the other way
round. So a direction comes from outside: pairs that somebody judged again (the share that disagrees is the share of
swapped labels), or trusted pairs of the same kind. For these a small model of the answers' words is fitted on the data,
across folds; if swaps are independent of content its score on the data is (1 − 2ε) of that on trusted pairs, whatever
the model is worth (the noise model of https://arxiv.org/abs/2403.00409), and Fieller's method gives the interval.
Good and bad answers, one of each at a time, are such pairs too, with the same share of swaps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from etude.batch import Sample, TokenRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUCKETS = 1 << 14
MOST_PAIRS = 20_000
"""Pairs that are looked at, evenly spread."""
FOLDS = 5
PENALTY = 0.3
ITERATIONS = 25
OPENING = 24
"""Tokens by which prompts are told apart, after what all of them begin with."""
FEWEST = 20
"""Trusted pairs below which nothing is said."""
CLEAREST = 5
"""One in so many: the pairs on which the words are surest."""
SURE = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """What is known of the labels of some pairs."""

    pairs: int
    """Looked at."""
    both_ways: int
    """Pairs that stand in the data with either label."""
    consistent: Estimate
    """How often a model of the answers' words, fitted on other pairs, agrees with the label."""
    most_swapped: float
    """Upper bound of the share of swapped labels, if most are the right way round."""
    swapped: Estimate | None = None
    """The share of swapped labels; None where no trusted pairs, or too few of them, say it."""
    judged_again: int = 0
    """Trusted pairs that are in the data, from which the share was taken; 0: from others, through the words."""
    what: str = "pairs"
    """What is labelled, in a reader's words."""

    @property
    def refused(self) -> bool:
        """Whether more labels are the wrong way round than the right one, beyond chance."""
        return self.swapped is not None and self.swapped.low > 0.5

    @property
    def warned(self) -> bool:
        """Whether some are swapped, beyond chance."""
        return self.swapped is not None and self.swapped.low > 0.01

    def __str__(self) -> str:
        says = [f"the answers' words agree with {self.consistent} of the labels"]
        if self.both_ways:
            says.append(f"{self.both_ways} {self.what} stand in the data with either label")
        if self.swapped is None:
            says.append(
                f"if most labels are the right way round, at most {self.most_swapped:.0%} are swapped; which way round "
                f"they are, {self.what} alone cannot tell (data.trusted_pairs can)"
            )
        else:
            by = f"{self.judged_again} of them judged again" if self.judged_again else f"trusted {self.what}"
            says.append(f"by {by}, {self.swapped} of the labels are swapped")
        return "; ".join(says)


def check_labels(samples: Sequence[Sample], trusted: Sequence[Sample] = ()) -> LabelCheck | None:
    """What is known of the labels of pairs (rows: chosen, rejected); None where there are too few pairs.

    `trusted` are pairs whose labels are right; some of them may be among the samples.
    """
    if len(samples) < FOLDS * FEWEST:
        return None
    step = max(1, math.ceil(len(samples) / MOST_PAIRS))
    pairs = [samples[at] for at in range(0, len(samples), step)]
    known = Counter(_key(sample) for sample in pairs)
    both_ways = sum(min(count, known[_swapped(key)]) for key, count in known.items()) // 2
    again = _judged_again(pairs if step == 1 else list(samples), trusted)
    others = [sample for sample in trusted if _key(sample) not in known and _swapped(_key(sample)) not in known]
    differences = _differences(pairs)
    folds = _folds(pairs)
    fitted = [_fitted(differences[folds != fold]) for fold in range(FOLDS)]
    margins = np.zeros(len(pairs))
    for fold in range(FOLDS):
        margins[folds == fold] = differences[folds == fold] @ fitted[fold]
    right = (margins > 0) + 0.5 * (margins == 0)
    clearest = right[np.argsort(-abs(margins))[: len(pairs) // CLEAREST]]
    found = LabelCheck(
        pairs=len(pairs),
        both_ways=both_ways,
        consistent=_share(float(right.sum()), len(right)),
        most_swapped=1 - _share(float(clearest.sum()), len(clearest)).low,
    )
    if sum(again) >= FEWEST:
        return replace(found, swapped=_share(again[1], sum(again)), judged_again=sum(again))
    if len(others) < FEWEST:
        return found
    there = _differences(others)
    return replace(found, swapped=_by_others(margins, [there @ weights for weights in fitted]))


def check_judgements(samples: Sequence[Sample], trusted: Sequence[Sample] = ()) -> LabelCheck | None:
    """The same of judged answers (a sample's first row and its value, above 0: good); None where good or bad ones are
    too few."""
    found = check_labels(_matched(samples))
    if found is None:
        return None
    known = _judgements(samples)
    again = [(one, known[_content(one)]) for one in trusted if _content(one) in known]
    others = [one for one in trusted if _content(one) not in known]
    both = sum(len(signs) > 1 for signs in known.values())
    if len(again) >= FEWEST:
        wrong = sum((1 - sum(_sign(one) * sign for sign in signs) / len(signs)) / 2 for one, signs in again)
        found = replace(found, swapped=_share(wrong, len(again)), judged_again=len(again))
    elif pairs := _matched(others):
        through_words = check_labels(_matched(samples), pairs)
        assert through_words is not None
        found = replace(found, swapped=through_words.swapped)
    return replace(found, both_ways=both, what="judged answers")


def _matched(samples: Sequence[Sample]) -> list[Sample]:
    """Good and bad answers as pairs, one of each as they come."""
    good, bad = ([one for one in samples if _sign(one) == sign] for sign in (1, -1))
    return [Sample(better.id, (better.rows[0], worse.rows[0])) for better, worse in zip(good, bad, strict=False)]


def _judgements(samples: Sequence[Sample]) -> dict[bytes, set[int]]:
    """What was said of each answer."""
    found: dict[bytes, set[int]] = {}
    for one in samples:
        found.setdefault(_content(one), set()).add(_sign(one))
    return found


def _content(sample: Sample) -> bytes:
    return np.asarray(sample.rows[0].tokens, dtype=np.int64).tobytes()


def _sign(sample: Sample) -> int:
    return 1 if sample.rows[0].value > 0 else -1


def _judged_again(samples: Sequence[Sample], trusted: Sequence[Sample]) -> tuple[int, int]:
    """Trusted pairs that are among the samples with the same label, and with the other one."""
    wanted = {key for sample in trusted for key in (_key(sample), _swapped(_key(sample)))}
    known = {key for key in map(_key, samples) if key in wanted} if wanted else set()
    same = sum(_key(sample) in known for sample in trusted)
    return same, sum(_swapped(_key(sample)) in known for sample in trusted)


def _key(sample: Sample) -> tuple[bytes, bytes]:
    first, second = (np.asarray(row.tokens, dtype=np.int64).tobytes() for row in sample.rows[:2])
    return first, second


def _swapped(key: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    return key[1], key[0]


def _by_others(margins: NDArray[np.float64], there: Sequence[NDArray[np.float64]]) -> Estimate | None:
    """ε from the two scores' ratio, 1 − 2ε, by Fieller's theorem; None where trusted pairs score too near to 0."""
    scale = float(np.sqrt((margins**2).mean())) or 1.0
    here = np.tanh(margins / scale)
    trusted = np.mean([np.tanh(one / scale) for one in there], axis=0)
    mean, anchor = float(here.mean()), float(trusted.mean())
    noise, anchor_noise = float(here.var(ddof=1) / len(here)), float(trusted.var(ddof=1) / len(trusted))
    a, b, c = anchor**2 - SURE**2 * anchor_noise, mean * anchor, mean**2 - SURE**2 * noise
    if a <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    low, middle, high = (min(1.0, max(0.0, (1 - r) / 2)) for r in ((b + root) / a, mean / anchor, (b - root) / a))
    return Estimate(middle, low, high)


def _share(count: float, total: int) -> Estimate:
    """Clopper and Pearson's interval."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, total - count + 1) if count > 0 else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return Estimate(count / total, float(low), float(high))


def _folds(pairs: Sequence[Sample]) -> NDArray[np.int64]:
    """A fold for each pair, the same for prompts that begin alike."""
    prompts = [np.asarray(pair.rows[0].tokens[: _answer_start(pair.rows[0])]) for pair in pairs]
    common = len(prompts[0])
    for prompt in prompts:
        size = min(common, len(prompt))
        apart = np.flatnonzero(prompt[:size] != prompts[0][:size])
        common = int(apart[0]) if len(apart) else size
    openings = [prompt[common : common + OPENING].tobytes() for prompt in prompts]
    numbers = {opening: number for number, opening in enumerate(dict.fromkeys(openings))}
    return np.asarray([numbers[opening] % FOLDS for opening in openings], dtype=np.int64)


def _answer_start(row: TokenRow) -> int:
    learned = np.flatnonzero(np.asarray(row.weights))
    return int(learned[0]) if len(learned) else len(row.tokens)


def _differences(pairs: Sequence[Sample]) -> Any:
    """Words (and pairs of words, and how the answer begins) of the chosen answer less those of the rejected one, each
    pair of length 1, with the difference of the logarithms of their lengths: a sparse [pairs, BUCKETS + 1] matrix."""
    from scipy import sparse

    columns, values, sizes = [], [], []
    for pair in pairs:
        chosen, rejected = map(_learned, pair.rows[:2])
        mine, its = _words(chosen), _words(rejected)
        only = np.setdiff1d(mine, its, assume_unique=True), np.setdiff1d(its, mine, assume_unique=True)
        count = max(1, len(only[0]) + len(only[1]))
        columns += [*only, np.asarray([BUCKETS])]
        signs = np.repeat([1.0, -1.0], [len(only[0]), len(only[1])]) / math.sqrt(count)
        values += [signs, np.asarray([math.log1p(len(chosen)) - math.log1p(len(rejected))])]
        sizes.append(len(signs) + 1)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), starts), shape=(len(pairs), BUCKETS + 1))


def _learned(row: TokenRow) -> NDArray[np.uint64]:
    return np.asarray(row.tokens, dtype=np.uint64)[np.asarray(row.weights) > 0]


def _words(tokens: NDArray[np.uint64]) -> NDArray[np.int64]:
    factor, other = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
    single = tokens * factor
    joined = (tokens[:-1] * other + tokens[1:]) * factor
    opening = (tokens[:3] + np.uint64(1 << 40)) * factor
    return np.unique(np.concatenate([single, joined, opening]) >> np.uint64(50)).astype(np.int64)


def _fitted(differences: Any) -> NDArray[np.float64]:
    """Weights of a logistic regression without intercept: every row's label is 1."""
    from scipy.optimize import minimize

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = differences @ weights
        wrong = 1 / (1 + np.exp(np.clip(margins, -500, 500)))
        return (
            float(np.logaddexp(0, -margins).sum() + 0.5 * PENALTY * weights @ weights),
            PENALTY * weights - differences.T @ wrong,
        )

    met = np.unique(differences.indices)
    whole, differences = np.zeros(differences.shape[1]), differences[:, met]
    found = minimize(loss, np.zeros(len(met)), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    whole[met] = found.x
    return whole
