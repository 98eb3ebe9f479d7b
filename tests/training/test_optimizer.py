"""AdamW: torch's own bit for bit in float32; masters for 16-bit weights; state goes out and in unchanged."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from etude.training.optimizer import MasterAdamW
from etude.training.options import TrainOptions

SHAPES = {"matrix": (5, 3), "bias": (3,), "cube": (2, 2, 2), "scalar": ()}
OPTIONS = TrainOptions(learning_rate=1e-2, weight_decay=0.1, beta1=0.8, beta2=0.95)


def parameters(dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {name: nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for name, shape in SHAPES.items()}


def give_gradients(found: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in found.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def torch_adamw(found: dict[str, nn.Parameter], **settings: object) -> torch.optim.AdamW:
    """Decay on matrices only."""
    matrices = [one for one in found.values() if one.ndim >= 2]
    rest = [one for one in found.values() if one.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.8, 0.95), **settings)  # type: ignore[arg-type]


def run(optimizer: MasterAdamW, first: int, last: int, scale: float = 1.0) -> None:
    for step in range(first, last):
        give_gradients(optimizer.trainable, step)
        optimizer.step(learning_rate=1e-2 / (step + 1), gradient_scale=scale)


@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_in_float32_it_is_torchs_adamw_bit_for_bit(scale: float) -> None:
    ours, theirs = parameters(), parameters()
    run(MasterAdamW(ours, OPTIONS), 0, 20, scale)
    reference = torch_adamw(theirs, fused=True)
    for step in range(20):
        give_gradients(theirs, step)
        for parameter in theirs.values():
            parameter.grad.mul_(scale)
        for group in reference.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        reference.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in SHAPES)


def test_it_agrees_with_the_plain_loop_over_tensors() -> None:
    ours, theirs = parameters(), parameters()
    optimizer, reference = MasterAdamW(ours, OPTIONS), torch_adamw(theirs, foreach=False, fused=False, lr=1e-2)
    for step in range(20):
        for one in (ours, theirs):
            give_gradients(one, step)
        optimizer.step(learning_rate=1e-2, gradient_scale=1.0)
        reference.step()
    for name in SHAPES:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-6)


def test_float32_weights_are_their_own_masters() -> None:
    found = parameters()
    optimizer = MasterAdamW(found, OPTIONS)
    assert all(optimizer.masters[name] is found[name] for name in SHAPES)
    assert not any(name.startswith("master/") for name in optimizer.state())


def test_updates_smaller_than_a_bfloat16_step_are_not_lost() -> None:
    weight = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    optimizer = MasterAdamW({"w": weight}, TrainOptions(learning_rate=1e-4))
    for step in range(100):
        weight.grad = torch.ones_like(weight)
        optimizer.step(learning_rate=1e-4, gradient_scale=1.0)
        if step == 0:
            assert torch.equal(weight, torch.ones_like(weight)), "one update is below the rounding of 1.0"
    assert optimizer.masters["w"].dtype == torch.float32
    torch.testing.assert_close(optimizer.masters["w"], torch.full((4, 4), 0.99), rtol=1e-5, atol=1e-5)
    assert torch.equal(weight, optimizer.masters["w"].bfloat16())
    assert weight[0, 0] < 1


def test_bfloat16_weights_follow_the_float32_run_on_their_gradients() -> None:
    half = parameters(torch.bfloat16)
    whole = {name: nn.Parameter(parameter.detach().float()) for name, parameter in half.items()}
    ours, reference = MasterAdamW(half, OPTIONS), MasterAdamW(whole, OPTIONS)
    for step in range(10):
        give_gradients(half, step)
        for name in SHAPES:
            whole[name].grad = half[name].grad.float()
        for optimizer in (ours, reference):
            optimizer.step(learning_rate=1e-2, gradient_scale=0.5)
    for name in SHAPES:
        torch.testing.assert_close(ours.masters[name], whole[name].detach(), rtol=1e-6, atol=1e-6, check_dtype=True)
        assert torch.equal(half[name], whole[name].bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("done", [0, 7])
def test_state_goes_out_and_in_bit_for_bit(dtype: torch.dtype, done: int) -> None:
    found = parameters(dtype)
    optimizer = MasterAdamW(found, OPTIONS)
    run(optimizer, 0, done)
    state = {name: value.clone() for name, value in optimizer.state().items()}
    again = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in found.items()}
    restored = MasterAdamW(again, OPTIONS)
    restored.load_state(state)
    assert restored.state().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in restored.state().items())
    for one in (optimizer, restored):
        run(one, done, done + 5)
    assert all(torch.equal(found[name], again[name]) for name in SHAPES)
    assert all(torch.equal(value, restored.state()[name]) for name, value in optimizer.state().items())


def test_restored_state_is_a_copy() -> None:
    optimizer = MasterAdamW(parameters(), OPTIONS)
    run(optimizer, 0, 2)
    state = {name: value.clone() for name, value in optimizer.state().items()}
    kept = {name: value.clone() for name, value in state.items()}
    other = MasterAdamW(parameters(), OPTIONS)
    other.load_state(state)
    run(other, 2, 4)
    assert all(torch.equal(state[name], kept[name]) for name in kept)


@given(values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_the_gradient_norm_is_the_2_norm_over_all_weights(values: list[float]) -> None:
    found = {str(i): nn.Parameter(torch.zeros(1)) for i in range(len(values))}
    for parameter, value in zip(found.values(), values, strict=True):
        parameter.grad = torch.tensor([value])
    norm = float(MasterAdamW(found, OPTIONS).gradient_norm())
    assert norm == pytest.approx(sum(value**2 for value in values) ** 0.5, rel=1e-5, abs=1e-6)


def test_weights_without_gradient_stay_and_clearing_forgets() -> None:
    found = parameters()
    before = {name: parameter.detach().clone() for name, parameter in found.items()}
    optimizer = MasterAdamW(found, OPTIONS)
    assert float(optimizer.gradient_norm()) == 0
    optimizer.step(learning_rate=1.0, gradient_scale=1.0)
    give_gradients(found, 0)
    optimizer.clear()
    optimizer.step(learning_rate=1.0, gradient_scale=1.0)
    assert all(torch.equal(before[name], found[name]) for name in SHAPES)
    assert all(parameter.grad is None for parameter in found.values())


def test_matrices_decay_and_vectors_do_not() -> None:
    found = parameters()
    before = {name: parameter.detach().clone() for name, parameter in found.items()}
    for parameter in found.values():
        parameter.grad = torch.zeros_like(parameter)
    MasterAdamW(found, OPTIONS).step(learning_rate=0.5, gradient_scale=1.0)
    for name, parameter in found.items():
        factor = 1 - 0.5 * 0.1 if parameter.ndim >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_the_gradient_norm_is_float32_where_gradients_are_not() -> None:
    found = {"a": nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16)), "b": nn.Parameter(torch.zeros(3))}
    for seed, parameter in enumerate(found.values()):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)).to(parameter.dtype)
    exact = torch.cat([parameter.grad.double() for parameter in found.values()]).norm()
    norm = MasterAdamW(found, OPTIONS).gradient_norm()
    assert norm.dtype == torch.float32
    assert abs(float(norm / exact) - 1) < 1e-6
