"""A row's weight: how much it counts in loss, gradient and figures, however a step is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.batch import Sample, Scores, TokenRow
from etude.errors import EtudeError
from etude.objectives.base import Objective
from etude.objectives.cpo import CPO
from etude.objectives.dpo import DPO
from etude.objectives.kto import KTO
from etude.objectives.orpo import ORPO
from etude.objectives.reward import Reward
from etude.objectives.simpo import SimPO
from etude.packing import pack

OBJECTIVES: list[Objective] = [
    DPO(),
    DPO(loss_type="ipo", nll=0.5),
    ORPO(),
    SimPO(),
    CPO(),
    Reward(),
    KTO(loss_type="apo"),
]
WEIGHTS = st.lists(st.floats(0.0625, 3.0, width=32), min_size=2, max_size=5)


def sample(number: int, weight: float) -> Sample:
    """Two short answers of different lengths; what they score depends on their tokens alone."""
    rows = []
    for at in range(2):
        answer = tuple(10 + (7 * number + 3 * at + step) % 50 for step in range(2 + (number + at) % 3))
        rows.append(TokenRow((5, 6, *answer), (0.0, 0.0, *[1.0] * len(answer)), 1.0 if number % 2 else -1.0))
    return Sample(str(number), tuple(rows), weight)


def learned(objective: Objective, samples: list[Sample]) -> tuple[float, float, dict[str, float], torch.Tensor]:
    """(total, count, figures, the total's gradient by a table of one number a token)."""
    table = torch.linspace(-1.0, 1.0, 64, dtype=torch.float64).requires_grad_()
    batch = pack([objective.shown(one) for one in samples], share=False)
    scores_S = table[batch.target_S] - 2
    found = objective.loss(batch, Scores(scores_S, reference_S=torch.full_like(scores_S, -2.0), values_S=scores_S))
    (gradient,) = torch.autograd.grad(found.total, table)
    return found.total.item(), objective.count(batch), {n: one.item() for n, one in found.sums.items()}, gradient


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@given(weights=WEIGHTS)
@settings(max_examples=15, deadline=None)
def test_a_row_counts_by_its_weight_and_a_step_may_be_cut_anywhere(objective: Objective, weights: list[float]) -> None:
    samples = [sample(number, weight) for number, weight in enumerate(weights)]
    total, count, figures, gradient = learned(objective, samples)
    alone = [learned(objective, [replace(one, weight=1.0)]) for one in samples]
    assert count == pytest.approx(sum(weights), rel=1e-6)
    assert total == pytest.approx(sum(w * one[0] for w, one in zip(weights, alone, strict=True)), rel=1e-6)
    for name, value in figures.items():
        parts = [w * one[2][name] for w, one in zip(weights, alone, strict=True)]
        assert value == pytest.approx(sum(parts), rel=1e-6, abs=1e-6)
    summed = sum(w * one[3] for w, one in zip(weights, alone, strict=True))
    assert torch.allclose(gradient, summed, rtol=1e-6, atol=1e-9)
    parts = [learned(objective, samples[:1]), learned(objective, samples[1:])]
    assert sum(part[0] for part in parts) == pytest.approx(total, rel=1e-9)
    assert sum(part[1] for part in parts) == pytest.approx(count, rel=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_half_a_row_twice_is_the_row(objective: Objective) -> None:
    whole = learned(objective, [sample(1, 1.0), sample(2, 1.0)])
    halves = learned(objective, [sample(1, 0.5), sample(2, 1.0), sample(1, 0.5)])
    assert halves[0] == pytest.approx(whole[0])
    assert halves[1] == whole[1]
    assert torch.allclose(halves[3], whole[3])
    half = learned(objective, [sample(1, 0.5)])
    assert torch.allclose(half[3], learned(objective, [sample(1, 1.0)])[3] / 2)


def test_kto_s_zero_point_is_the_same_for_all_weights() -> None:
    """It is a figure of the batch, so only the judged answers' own terms are weighed."""
    one, other = (learned(KTO(), [sample(1, weight), sample(2, 1.0)]) for weight in (1.0, 0.25))
    assert one[2]["usual"] / one[1] == pytest.approx(other[2]["usual"] / other[1])
    assert not torch.allclose(one[3], other[3])


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_losses_that_sort_pairs_refuse_weights(name: str) -> None:
    with pytest.raises(EtudeError, match="sorts a batch's pairs, so rows cannot have weights of their own"):
        learned(DPO(loss_type=name), [sample(1, 0.5), sample(2, 1.0)])  # type: ignore[arg-type]
    learned(DPO(loss_type=name), [sample(1, 1.0), sample(2, 1.0)])  # type: ignore[arg-type]


def test_weighting_needs_pairs_that_keep_their_term() -> None:
    assert DPO(weighting=True).needs_squares
    assert not DPO().needs_squares
    assert DPO(weighting=True, loss_type="ipo").problems() == []
    assert DPO(weighting=True, loss_type="aot").problems() == [
        ("weighting", "weighs pairs, which aot sorts against each other")
    ]
