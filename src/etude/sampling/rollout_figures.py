"""What the diary is told of a batch of answers, and what the alarms read there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from etude.batch import Sample
from etude.sampling.groups import Group


def figures_of(groups: Sequence[Group], samples: Sequence[Sample]) -> dict[str, float]:
    """Mean reward and its terms, lengths, how many ended, dead groups; `samples` are what is learned from them."""
    rewards = [reward for group in groups for reward in group.rewards if not math.isnan(reward)]
    lengths = [len(answer) for group in groups for answer in group.answers]
    names = {name for group in groups for parts in group.parts for name in parts}
    found = {
        "answer_tokens": _mean(lengths),
        "ended": _mean([float(ended) for group in groups for ended in group.finished]),
    }
    if names:
        found |= {"reward": _mean(rewards), "dead_groups": _mean([float(group.is_dead) for group in groups])}
        found |= _with_length(groups)
        found |= _uncredited(groups, samples)
    if len(names) > 1:
        for name in sorted(names):
            values = [parts[name] for group in groups for parts in group.parts]
            found[f"reward_{name.replace(' ', '_')}"] = _mean([value for value in values if not math.isnan(value)])
    return found


def _with_length(groups: Sequence[Group]) -> dict[str, float]:
    """Correlation of reward and length among answers to the same prompt, and the answers that it rests on."""
    pairs = []
    for group in groups:
        known = [
            (reward, len(answer))
            for reward, answer in zip(group.rewards, group.answers, strict=True)
            if not math.isnan(reward)
        ]
        if len(known) > 1:
            values = np.asarray(known, dtype=np.float64)
            pairs.append(values - values.mean(0))
    if not pairs:
        return {}
    apart = np.concatenate(pairs)
    spread = np.sqrt((apart**2).sum(0))
    if not spread.min() > 1e-9:
        return {}
    freedom = len(apart) - len(pairs)  # each prompt's own mean was taken off
    found = float((apart[:, 0] * apart[:, 1]).sum() / spread.prod())
    return {"goes_with_length": found, "goes_with_length_over": freedom}


def _uncredited(groups: Sequence[Group], samples: Sequence[Sample]) -> dict[str, float]:
    """Share of the groups with different rewards in which no token of any answer is learned from."""
    live = [sample for group, sample in zip(groups, samples, strict=True) if not group.is_dead]
    lost = [
        not any(_is_credited(row.given) for row in sample.rows)
        for sample in live
        if all("advantage" in row.given for row in sample.rows)
    ]
    return {"uncredited": _mean([float(one) for one in lost])} if lost else {}


def _is_credited(given: Mapping[str, Sequence[float]]) -> bool:
    """Whether an answer moves the policy, or at least the critic."""
    return any(given["advantage"]) or any(
        wanted != value for wanted, value in zip(given.get("return", ()), given.get("value", ()), strict=True)
    )


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else math.nan
