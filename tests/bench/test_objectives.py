"""The bench's preference and group losses against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from bench.ours.objectives import GroupLoss, PairLoss
from etude.batch import Sample, Scores, TokenRow
from etude.packing import pack


def pair(name: str) -> Sample:
    prompt = tuple(range(12))
    chosen = TokenRow((*prompt, 20, 21), (*[0.0] * 12, 1.0, 1.0))
    rejected = TokenRow((*prompt, 30, 31, 32), (*[0.0] * 12, 1.0, 1.0, 1.0))
    return Sample(name, (chosen, rejected))


def test_the_pair_loss_is_minus_log_sigmoid_of_the_margin() -> None:
    batch = pack([pair("a"), pair("b")])
    policy = torch.randn(len(batch.site_S), generator=torch.Generator().manual_seed(0))
    reference = torch.zeros_like(policy)
    loss = PairLoss(beta=0.1).loss(batch, Scores(policy_S=policy, reference_S=reference))
    gained = [float(policy[batch.row_S == row].sum()) for row in range(4)]
    margins = [gained[0] - gained[1], gained[2] - gained[3]]
    assert float(loss.total) == pytest.approx(sum(math.log1p(math.exp(-0.1 * margin)) for margin in margins), rel=1e-5)
    assert PairLoss().count(batch) == 2


def test_the_group_loss_pushes_each_token_by_its_advantage() -> None:
    rows = (TokenRow((1, 2, 3), (0.0, 0.5, 0.5)), TokenRow((1, 4, 5), (0.0, -0.5, -0.5)))
    batch = pack([Sample("group", rows)])
    policy = torch.full((4,), -1.0, requires_grad=True)
    loss = GroupLoss().loss(batch, Scores(policy_S=policy))
    torch.autograd.backward(loss.total)
    assert loss.total.item() == pytest.approx(0.0)
    assert policy.grad is not None
    assert torch.equal(policy.grad, -batch.weight_S)
    assert GroupLoss().count(batch) == 4
