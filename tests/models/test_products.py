"""The products of a layer equal float32's within one rounding, whatever the shapes; low-rank additions are not lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from etude.models import kernels, products
from etude.models.layers.low_rank import LoRALinear
from etude.models.projections import Projections, adopt

ROUNDED_ONCE = kernels.multiplies() or not products.computes_in_bfloat16()
needs_one_rounding = pytest.mark.skipif(not ROUNDED_ONCE, reason="torch rounds sums of bfloat16 products in between")
needs_compiler = pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler on this machine")
ONE_ROUNDING = 1 / 256


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()


def assert_near(ours: Tensor, exact: Tensor) -> None:
    assert ours.shape == exact.shape
    assert (ours.float() - exact).abs().max() <= ONE_ROUNDING * exact.abs().max() + 1e-6


@needs_one_rounding
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 24).map(lambda n: 32 * n),
    depth=st.integers(1, 20).map(lambda n: 32 * n),
    columns=st.integers(1, 300),
    ranks=st.sampled_from([0, 32, 64]),
    residual=st.booleans(),
)
def test_any_shape_with_its_additions(rows: int, depth: int, columns: int, ranks: int, residual: bool) -> None:
    x, weight, back = draw(rows, depth), draw(columns, depth, seed=1), draw(rows, depth, seed=2)
    low = (draw(rows, ranks, seed=3), draw(columns, ranks, seed=4)) if ranks else None
    add = draw(rows, columns, seed=5) if residual else None
    exact = x.float() @ weight.float().t()
    if low:
        exact += low[0].float() @ low[1].float().t()
    if add is not None:
        exact += add.float()
    assert_near(products.forward(x, weight, low, add), exact)
    turned = draw(depth, columns, seed=6)
    thin = (draw(rows, ranks, seed=7), draw(ranks, columns, seed=8)) if ranks else None
    exact = back.float() @ turned.float() + (thin[0].float() @ thin[1].float() if thin else 0.0)
    assert_near(products.backward(back, turned, thin), exact)


@needs_one_rounding
@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 700),
    outs=st.integers(1, 150),
    ins=st.integers(1, 150),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_gradients_of_weights(tokens: int, outs: int, ins: int, dtype: torch.dtype) -> None:
    dy, x = draw(tokens, outs + 3)[:, 1 : outs + 1], draw(tokens, ins, seed=1)
    found = products.outer(dy, x, dtype, scale=0.5)
    assert found.dtype == dtype
    assert_near(found, 0.5 * (dy.float().t() @ x.float()))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [32, 96, 40])
def test_the_activation_and_its_gradient(dtype: torch.dtype, size: int) -> None:
    x, weight, down = draw(64, 32), draw(2 * size, 32, seed=1, scale=0.3), draw(32, size, seed=2)
    dy = draw(64, 32, seed=3)
    gate_up, activated = products.forward_swiglu(x.to(dtype), weight.to(dtype), None, None)
    exact = (x.float() @ weight.float().t()).requires_grad_()
    gate, up = exact.chunk(2, -1)
    (nn.functional.silu(gate) * up).backward(dy.float() @ down.float())
    assert_near(gate_up, exact.detach())
    exact_activated = (nn.functional.silu(gate) * up).detach()
    assert (activated.float() - exact_activated).norm() < 0.01 * exact_activated.norm()
    d_gate_up, again = products.backward_swiglu(dy.to(dtype), down.to(dtype), None, gate_up)
    assert torch.equal(again, activated)
    assert exact.grad is not None
    assert (d_gate_up.float() - exact.grad).norm() < 0.01 * exact.grad.norm()


def test_bias_of_gates_and_up_projections() -> None:
    x, weight, bias = draw(32, 32).float(), draw(64, 32, seed=1).float(), draw(64, seed=2).float()
    if not kernels.computes(x):
        pytest.skip("no C compiler on this machine")
    gate_up, _ = products.forward_swiglu(x, weight, bias, None)
    assert torch.allclose(gate_up, x @ weight.t() + bias, atol=1e-4)


@needs_one_rounding
def test_an_addition_far_below_the_rounding_of_the_output_is_not_lost() -> None:
    """Added to an output that is rounded already, a fresh adapter's first updates vanish."""
    linear = nn.Linear(64, 64, bias=False).bfloat16()
    adapter = LoRALinear(linear, rank=8, scale=1.0, dropout=0.0, generator=torch.Generator().manual_seed(0))
    adapter.lora_B.data.normal_(std=1e-4)
    read = Projections.read([adapter])
    assert read is not None
    x = draw(4096, 64)
    with torch.no_grad():
        out, _ = read.forward(x)
        plain = products.forward(x, read.weight_OI)
    delta = x.float() @ adapter.delta_OI().t()
    assert delta.abs().mean() < 0.1 * ONE_ROUNDING * plain.float().abs().mean()
    along = ((out.float() - plain.float()) * delta).sum() / delta.square().sum()
    assert 0.8 < along < 1.2
    assert ((plain + delta.bfloat16()).float() - plain.float()).abs().mean() < delta.abs().mean()


@needs_one_rounding
@pytest.mark.parametrize("outs", [(64,), (64, 32, 32)])
@pytest.mark.parametrize("rank", [3, 16])
def test_thin_products_equal_autograd(outs: tuple[int, ...], rank: int) -> None:
    linears = [nn.Linear(96, size, bias=False).bfloat16() for size in outs]
    adopt(linears)
    generator = torch.Generator().manual_seed(1)
    layers = [LoRALinear(one, rank=rank, scale=2.0, dropout=0.0, generator=generator) for one in linears]
    for layer in layers:
        layer.lora_B.data.normal_(std=0.1)
    x, dy = draw(128, 96), draw(128, sum(outs), seed=1)
    read = Projections.read(layers)
    assert read is not None
    with torch.no_grad():
        out, kept = read.forward(x)
        d_low = read.low_gradient(dy, kept)
        ours = read.gradients(dy, x, kept, d_low, [True] * len(read.parameters))
        ours_x = read.input_gradient(dy, kept, d_low)
    exact_x = x.float().requires_grad_()
    weights = [one.weight.detach().float().requires_grad_() for one in linears]
    lows = [one.detach().clone().requires_grad_() for layer in layers for one in (layer.lora_A, layer.lora_B)]
    pairs = zip(weights, lows[::2], lows[1::2], strict=True)
    exact = torch.cat([exact_x @ w.t() + (exact_x @ a.t()) @ b.t() * 2.0 for w, a, b in pairs], -1)
    exact.backward(dy.float())
    assert (out.float() - exact).norm() < 0.01 * exact.norm()
    for found, leaf in zip([ours_x, *ours], [exact_x, *weights, *lows], strict=True):
        assert found is not None
        assert leaf.grad is not None
        assert (found.float() - leaf.grad).norm() < 0.01 * leaf.grad.norm()


@pytest.mark.skipif(not kernels.multiplies(), reason="this processor has none")
@pytest.mark.slow
def test_processors_without_tiles_pass_the_same_tests() -> None:
    here = [__file__, os.path.join(os.path.dirname(__file__), "test_block_attention.py")]
    environment = {**os.environ, "CFLAGS": "-mno-amx-bf16 -mno-amx-tile"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not slow", *here],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
