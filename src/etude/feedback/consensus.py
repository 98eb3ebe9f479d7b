"""What several people together say: by majority, or weighing each by how reliable the others make him look.

Shape letters: I items, A annotators, L labels, N judgements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from etude.feedback.agreement import Units
    from etude.feedback.judgements import Choice

MOST_ROUNDS = 200
TOLERANCE = 1e-6
PRIOR_RIGHT, PRIOR_WRONG = 3.0, 1.0
"""Judgements that everybody is taken to have given already, so that nobody is perfect after one item."""
SCORE_PRIOR = 1.0
"""Standard deviation of answers' scores before anybody has compared them."""


@dataclass(frozen=True)
class Consensus:
    """Of each item how likely it is that its label is 1 (the first answer is better, the answer is good)."""

    share: Mapping[str, float]
    reliability: Mapping[str, float]
    """Of each annotator, how likely he is to be right; empty where that was not estimated."""


def majority(units: Units) -> Consensus:
    """The share of votes for 1 (value above 0); a tie is half a vote for either."""
    share = {item: sum((value > 0) + 0.5 * (value == 0) for value in said.values()) / len(said)
             for item, said in units.items()}  # fmt: skip
    return Consensus(share, {})


def dawid_skene(units: Units) -> Consensus:
    """Dawid and Skene's model with one number an annotator (https://doi.org/10.2307/2346806; this form:
    https://arxiv.org/abs/1406.3824): he is right with a probability of his own, whichever answer is the better one.

    Expectation-maximisation from the majority; a tie says half of either. Two labels, both as likely to begin with.
    """
    import numpy as np
    from scipy.special import expit

    item_N, annotator_N, for_N, names, items = _arrays(units)
    share_I = _means(item_N, for_N, len(items))
    right_A = np.full(len(names), 0.5)
    for _ in range(MOST_ROUNDS):
        agreed_N = for_N * share_I[item_N] + (1 - for_N) * (1 - share_I[item_N])
        agreed_A = np.bincount(annotator_N, agreed_N, len(names)) + PRIOR_RIGHT
        right_A = agreed_A / (np.bincount(annotator_N, minlength=len(names)) + PRIOR_RIGHT + PRIOR_WRONG)
        odds_N = np.log(right_A / (1 - right_A))[annotator_N] * (2 * for_N - 1)
        before_I, share_I = share_I, expit(np.bincount(item_N, odds_N, len(items)))
        if np.abs(share_I - before_I).max() < TOLERANCE:
            break
    return Consensus(dict(zip(items, share_I.tolist(), strict=True)), dict(zip(names, right_A.tolist(), strict=True)))


def bradley_terry(choices: Sequence[Choice], units: Units) -> Consensus:
    """Bradley and Terry's model with annotators of different reliability (https://doi.org/10.1145/2433396.2433420).

    Every answer has a score, and comparisons of all answers to a prompt speak of each other: who beat a good answer is
    good. An annotator sees the scores' order with probability r, its reverse otherwise. Most probable scores and r
    under a normal prior of the scores and a beta prior of r.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    item_N, annotator_N, for_N, names, items = _arrays(units)
    ends = {choice.key: _ends(choice) for choice in choices}
    answers = {key: at for at, key in enumerate(dict.fromkeys(end for item in items for end in ends[item]))}
    first_I, second_I = (np.array([answers[ends[item][side]] for item in items]) for side in (0, 1))

    def negative_log_posterior(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores, logits = x[: len(answers)], x[len(answers) :]
        better_N = expit(scores[first_I] - scores[second_I])[item_N]
        right_A = expit(logits)
        right_N = right_A[annotator_N]
        said_N = np.clip(right_N * better_N + (1 - right_N) * (1 - better_N), 1e-12, 1 - 1e-12)
        slope_N = for_N / said_N - (1 - for_N) / (1 - said_N)
        by_score_N = slope_N * (2 * right_N - 1) * better_N * (1 - better_N)
        by_score_I = np.bincount(item_N, by_score_N, len(items))
        gradient = np.zeros_like(x)
        np.add.at(gradient, first_I, -by_score_I)
        np.add.at(gradient, second_I, by_score_I)
        gradient[: len(answers)] += scores / SCORE_PRIOR**2
        by_right_A = np.bincount(annotator_N, slope_N * (2 * better_N - 1), len(names)) * right_A * (1 - right_A)
        prior_A = PRIOR_RIGHT * (1 - right_A) - PRIOR_WRONG * right_A
        gradient[len(answers) :] = -by_right_A - prior_A
        total = (for_N * np.log(said_N) + (1 - for_N) * np.log(1 - said_N)).sum() - (
            scores**2
        ).sum() / 2 / SCORE_PRIOR**2
        total += (PRIOR_RIGHT * np.log(right_A) + PRIOR_WRONG * np.log(1 - right_A)).sum()
        return -float(total), gradient

    start = np.concatenate([np.zeros(len(answers)), np.full(len(names), np.log(PRIOR_RIGHT / PRIOR_WRONG))])
    found = minimize(negative_log_posterior, start, jac=True, method="L-BFGS-B").x
    share_I = expit(found[first_I] - found[second_I])
    right_A = expit(found[len(answers) :])
    return Consensus(dict(zip(items, share_I.tolist(), strict=True)), dict(zip(names, right_A.tolist(), strict=True)))


def _ends(choice: Choice) -> tuple[str, str]:
    """The keys of both answers, each with its prompt."""
    prompt, first, second = choice.key.split(":")
    return f"{prompt}:{first}", f"{prompt}:{second}"


def _arrays(
    units: Units,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[str], list[str]]:
    """(item, annotator, share of the vote for 1) of each judgement; annotators' names; items."""
    import numpy as np

    names = sorted({name for said in units.values() for name in said})
    place = {name: at for at, name in enumerate(names)}
    told = [(at, place[name], value) for at, said in enumerate(units.values()) for name, value in said.items()]
    item_N, annotator_N = (np.array([one[column] for one in told], dtype=np.int64) for column in (0, 1))
    values_N = np.array([one[2] for one in told])
    return item_N, annotator_N, (values_N > 0) + 0.5 * (values_N == 0), names, list(units)


def _means(item_N: NDArray[np.int64], values_N: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    import numpy as np

    found: NDArray[np.float64] = np.bincount(item_N, values_N, size) / np.bincount(item_N, minlength=size)
    return found
