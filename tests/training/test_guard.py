"""The guard: nothing that is not finite reaches the weights, spikes are told, three in a row end the run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude import faults
from etude.errors import DivergedError
from etude.training.guard import FEWEST, MOST_SKIPPED, WINDOW, Guard
from tests.training.small_run import Seen, equal, small_policy, small_run, weights_of

NOT_FINITE = (math.nan, math.inf, -math.inf)
IDS = ("a:1", "b:2", "c:3", "d:4", "e:5", "f:6")


def judge(guard: Guard, loss: float, norm: float = 1.0) -> tuple[str | None, str | None]:
    return guard.judge(loss, norm, step=7, sample_ids=IDS)


def settled() -> Guard:
    """A guard that has seen enough to know what is usual."""
    guard = Guard()
    for i in range(FEWEST):
        assert judge(guard, 1.0 + 0.01 * (i % 5)) == (None, None)
    return guard


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("which", ["loss", "norm"])
def test_an_update_that_is_not_finite_is_skipped_and_not_remembered(bad: float, which: str) -> None:
    guard = settled()
    reason, warning = judge(guard, bad) if which == "loss" else judge(guard, 1.0, bad)
    assert reason is not None
    assert "not both finite" in reason
    assert warning is None
    assert len(guard.losses) == len(guard.norms) == FEWEST


def test_three_skipped_in_a_row_end_the_run_and_name_the_samples() -> None:
    guard = Guard()
    for _ in range(MOST_SKIPPED - 1):
        assert judge(guard, math.nan)[0] is not None
    with pytest.raises(DivergedError, match=r"update 7: .*3 updates in a row.*a:1, b:2, c:3, d:4 and 2 more"):
        judge(guard, math.nan)


def test_a_good_update_in_between_starts_the_count_again() -> None:
    guard = Guard()
    for _ in range(5):
        for loss in (math.nan, math.nan, 1.0):
            judge(guard, loss)
    assert guard.skipped_in_a_row == 0


def test_spikes_of_loss_and_gradient_are_told_with_their_samples() -> None:
    for loss, norm, word in ((5.0, 1.0, "loss 5"), (1.0, 11.0, "gradient norm 11")):
        skipped, warning = judge(settled(), loss, norm)
        assert skipped is None, "a spike is told, the update is done"
        assert warning is not None
        assert warning.startswith(word)
        assert "a:1" in warning


@given(noise=st.lists(st.floats(-0.02, 0.02), min_size=60, max_size=60))
def test_ordinary_noise_is_no_spike(noise: list[float]) -> None:
    guard = settled()
    assert all(judge(guard, 1.02 + one, 1.0 + one) == (None, None) for one in noise)


def test_no_spike_is_told_before_enough_updates_were_seen() -> None:
    guard = Guard()
    for loss in [1.0] * (FEWEST - 1) + [100.0]:
        assert judge(guard, loss) == (None, None)


def test_it_remembers_a_window_only() -> None:
    guard = Guard()
    for i in range(WINDOW + 50):
        judge(guard, float(i))
    assert guard.losses == [float(i) for i in range(50, WINDOW + 50)]
    assert len(guard.norms) == WINDOW


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ETUDE_TESTING", "1")
    faults.rearm()
    return monkeypatch


def test_a_nan_loss_leaves_the_weights_and_the_run_goes_on(armed: pytest.MonkeyPatch) -> None:
    armed.setenv("ETUDE_FAULT", "loop.nan_loss:3=nan")
    trained, seen = small_run(steps=5)
    assert [update.step for update in seen.updates if update.skipped] == [3]
    assert math.isnan(seen.updates[2].loss)
    assert equal(seen.weights[1], seen.weights[2]), "update 3 did not touch them"
    assert not equal(seen.weights[2], seen.weights[3]), "update 4 did"
    assert math.isfinite(trained.loss)


def test_the_gradients_of_a_skipped_update_are_forgotten(armed: pytest.MonkeyPatch) -> None:
    armed.setenv("ETUDE_FAULT", "loop.nan_loss:2=nan")
    _, seen = small_run(steps=3, rows=4)  # the same four rows each time, the weights of update 1 twice
    assert seen.updates[2].grad_norm == pytest.approx(seen.updates[1].grad_norm, rel=1e-4)


def test_three_nan_losses_end_the_run_with_the_weights_unharmed(armed: pytest.MonkeyPatch) -> None:
    armed.setenv("ETUDE_FAULT", "loop.nan_loss:2=nan,loop.nan_loss:3=nan,loop.nan_loss:4=nan")
    policy = small_policy()
    seen = Seen()
    with pytest.raises(DivergedError, match="update 4"):
        small_run(policy=policy, hooks=[seen])
    assert len(seen.weights) == 3
    assert equal(seen.weights[0], weights_of(policy))


def test_weights_that_give_no_numbers_are_never_updated() -> None:
    policy = small_policy()
    policy.model.module.get_input_embeddings().weight.data.fill_(float("nan"))
    before = weights_of(policy)
    with pytest.raises(DivergedError, match="lower the learning rate, or look at these rows"):
        small_run(policy=policy)
    assert equal(before, weights_of(policy))
