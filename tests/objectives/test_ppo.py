"""PPO's arithmetic by hand: advantages, penalties, clipped losses."""

from __future__ import annotations

import math

import pytest
import torch

from etude.batch import Sample, Scores, TokenRow
from etude.objectives.experience import Experience
from etude.objectives.gae import adapted, gae, whitened
from etude.objectives.ppo import PPO
from etude.packing import pack

DISCOUNT, DECAY = 0.9, 0.8


def test_advantages_are_the_discounted_sum_of_surprises() -> None:
    rewards, values = torch.tensor([0.0, 0.5, 2.0]), torch.tensor([0.3, -0.2, 1.0])
    surprises = [0.0 + DISCOUNT * -0.2 - 0.3, 0.5 + DISCOUNT * 1.0 + 0.2, 2.0 - 1.0]
    expected = [sum((DISCOUNT * DECAY) ** (k - at) * surprises[k] for k in range(at, 3)) for at in range(3)]
    advantages, returns = gae(rewards, values, discount=DISCOUNT, decay=DECAY)
    assert advantages.tolist() == pytest.approx(expected)
    assert returns.tolist() == pytest.approx([a + v for a, v in zip(expected, values.tolist(), strict=True)])


def test_with_decay_1_returns_are_the_rewards_to_go() -> None:
    rewards, values = torch.randn(7), torch.randn(7)
    _, returns = gae(rewards, values, discount=1.0, decay=1.0)
    assert torch.allclose(returns, rewards.flip(0).cumsum(0).flip(0), atol=1e-5)


def test_whitening() -> None:
    parts = [torch.tensor([1.0, 2.0]), torch.tensor([6.0])]
    moved, kept = torch.cat(whitened(parts)), torch.cat(whitened(parts, shift=False))
    assert abs(float(moved.mean())) < 1e-6
    assert abs(float(kept.mean()) - 3) < 1e-5
    assert abs(float(moved.std()) - 1) < 1e-6
    assert abs(float(kept.std()) - 1) < 1e-6
    assert whitened([torch.tensor([3.0])])[0].tolist() == [3.0]


def test_the_penalty_follows_the_distance() -> None:
    assert adapted(0.1, 12.0, target=6.0, horizon=100, answers=10) == pytest.approx(0.1 * 1.02)
    assert adapted(0.1, 0.0, target=6.0, horizon=100, answers=10) == pytest.approx(0.1 * 0.98)
    assert adapted(0.1, 6.3, target=6.0, horizon=100, answers=10) == pytest.approx(0.1 * 1.005)


def experience(*, final: float = 2.0) -> Experience:
    return Experience(
        rewards_PG=torch.tensor([[final, 0.5]], dtype=torch.float64),
        lengths=[3, 1],
        old=[torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.5])],
        reference=[torch.tensor([-1.2, -1.0, -0.7]), torch.tensor([-1.0])],
        values=[torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4])],
    )


def test_credit_of_a_hand_computed_case() -> None:
    options = PPO(kl=0.1, discount=1.0, decay=1.0)
    credit = options.credit(experience(), {})
    # the price of the distance token by token, the reward where the answer ends
    rewards = [-0.1 * 0.2, 0.1 * 1.0, -0.1 * 0.2 + 2.0]
    to_go = [sum(rewards[at:]) for at in range(3)]
    assert credit.given["return"][0].tolist() == pytest.approx(to_go)
    assert credit.given["return"][1].tolist() == pytest.approx([0.1 * 0.5 + 0.5])
    raw = torch.tensor([to_go[0] - 0.1, to_go[1] - 0.2, to_go[2] - 0.3, 0.55 - 0.4])
    expected = (raw - raw.mean()) / raw.std()
    assert torch.cat(list(credit.given["advantage"])).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert credit.figures["kl"] == pytest.approx(((0.2 - 1.0 + 0.2) - 0.5) / 2)
    assert credit.state["kl_coefficient"] == pytest.approx(0.1 * (1 - 0.2 * 2 / 10_000))
    again = options.credit(experience(), credit.state)
    assert again.figures["kl_coefficient"] == credit.state["kl_coefficient"]


def test_warm_up_teaches_the_critic_alone_and_a_missing_reward_nobody() -> None:
    credit = PPO(critic_warmup=1).credit(experience(), {})
    assert all(not one.any() for one in credit.given["advantage"])
    missing = PPO().credit(experience(final=math.nan), {})
    assert torch.equal(missing.given["return"][0], experience().values[0])
    assert all(one.isfinite().all() for one in missing.given["advantage"])


def batch_of(old: list[float], advantage: list[float]) -> object:
    given = {"old": [0.0, *old], "advantage": [0.0, *advantage], "return": [0.0, 1.0, 0.0], "value": [0.0, 0.2, 0.1]}
    return pack([Sample("a", (TokenRow((5, 6, 7), (0.0, 1.0, 1.0), 0.0, given),))])


def test_the_loss_of_a_hand_computed_case() -> None:
    batch = batch_of([-1.0, -1.0], [1.0, -1.0])
    policy = torch.tensor([-0.5, -0.5], requires_grad=True)
    values = torch.tensor([0.9, 0.0], requires_grad=True)
    options = PPO(value_weight=0.5, value_clip=0.2)
    loss = options.loss(batch, Scores(policy, reference_S=torch.tensor([-0.6, -0.6]), values_S=values))  # type: ignore[arg-type]
    ratio = math.exp(0.5)
    policy_loss = -1.2 + ratio  # a good token is held at 1.2, a bad one counts in full
    missed = 0.5 * max((0.9 - 1) ** 2, (0.4 - 1) ** 2) + 0.5 * max(0.0, 0.0)
    assert loss.total.item() == pytest.approx(policy_loss + 0.5 * missed)
    loss.total.backward()
    assert policy.grad is not None
    assert policy.grad[0] == 0, "clipped: nothing more to learn"
    assert policy.grad[1] == pytest.approx(ratio)
    assert loss.sums["clipped"].item() == 1
    assert loss.sums["ratio_off"].item() == pytest.approx(2 * (ratio - 1))


def test_the_bonus_for_being_unsure_lowers_what_is_likely() -> None:
    batch = batch_of([-0.5, -0.5], [0.0, 0.0])
    policy = torch.tensor([-0.5, -2.0], requires_grad=True)
    zeros = torch.zeros(2)
    loss = PPO(entropy=0.1, value_weight=0.0).loss(batch, Scores(policy, reference_S=zeros, values_S=zeros))  # type: ignore[arg-type]
    loss.total.backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-0.05, -0.2])
