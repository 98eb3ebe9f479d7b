"""PPO's rewards, token by token: the reward at the answer's end, a price for leaving the reference all along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etude.objectives.experience import Credit, Experience
from etude.objectives.gae import adapted, gae, whitened

if TYPE_CHECKING:
    from torch import Tensor

    from etude.objectives.ppo import PPO

COEFFICIENT = "kl_coefficient"


def credit_of(options: PPO, experience: Experience, state: dict[str, float]) -> Credit:
    """Advantages (deviation 1 over all tokens), returns, and the penalty's next coefficient."""
    import torch

    coefficient = state.get(COEFFICIENT, options.kl)
    finals = experience.rewards_PG.flatten().float()
    if options.whiten_rewards:
        known = ~finals.isnan()
        finals[known] = whitened([finals[known]], shift=False)[0]
    distances = [old - before for old, before in zip(experience.old, experience.reference, strict=True)]
    advantages: list[Tensor] = []
    returns: list[Tensor] = []
    for place, (values, distance) in enumerate(zip(experience.values, distances, strict=True)):
        rewards = -coefficient * distance
        if len(rewards):
            rewards[-1] += finals[place].nan_to_num(0.0)
        found, wanted = gae(rewards, values, discount=options.discount, decay=options.decay)
        if finals[place].isnan():  # without a reward nothing is known: the critic keeps its opinion
            found, wanted = torch.zeros_like(found), values.clone()
        advantages.append(found)
        returns.append(wanted)
    advantages = whitened(advantages)
    if experience.number < options.critic_warmup:
        advantages = [torch.zeros_like(one) for one in advantages]
    kl = float(torch.stack([one.sum() for one in distances]).mean()) if distances else 0.0
    following = coefficient
    if options.kl_target is not None:
        following = adapted(
            coefficient, kl, target=options.kl_target, horizon=options.kl_horizon, answers=len(distances)
        )
    given = {"advantage": advantages, "return": returns, "value": list(experience.values)}
    return Credit(given, {COEFFICIENT: following}, {"kl": kl, COEFFICIENT: coefficient})
