"""Weights in few bits: the library of the method's authors as oracle, bounds by arithmetic, one way for all readers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from etude.models import kernels, quantize
from etude.models.layers.held import HeldLinear
from etude.models.options import Held

HELD: tuple[Held, ...] = ("nf4", "nf4-double", "int8")


def weight(outputs: int = 96, inputs: int = 128, seed: int = 0) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.mark.parametrize("double", [False, True])
def test_codes_and_numbers_are_those_of_bitsandbytes(double: bool) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    given = weight(256, 576)
    theirs, state = functional.quantize_4bit(given, quant_type="nf4", compress_statistics=double)
    packed, scale = quantize.to_nf4(given)
    assert torch.equal(packed, theirs.flatten())
    expected = functional.dequantize_4bit(theirs, state)
    if double:
        scale = quantize.scales_from_8_bits(*quantize.scales_to_8_bits(scale))
    found = quantize.from_nf4(packed, scale, tuple(given.shape), torch.float32)
    same = (found - expected).abs() < 1e-6
    assert (
        same.all() if not double else same.double().mean() > 0.99
    )  # theirs rounds scales between two levels by chance
    assert (found - expected).abs().max() < 0.01 * given.abs().max()


def test_the_levels_are_those_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    assert torch.allclose(quantize.dynamic_levels(), functional.create_dynamic_map(), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 64), (5, 100), (1, 7), (96, 128)])
@pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler on this machine")
def test_the_kernel_spells_out_what_the_formula_says(shape: tuple[int, int], dtype: torch.dtype) -> None:
    given = weight(*shape)
    packed, scale = quantize.to_nf4(given)
    expected = quantize.from_nf4(packed, scale, shape, dtype)
    layer = HeldLinear(given, None, held="nf4", dtype=dtype)
    assert torch.equal(layer.weight, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 64), (5, 100), (1, 7), (96, 128)])
def test_the_kernel_rounds_as_the_formula_does(shape: tuple[int, int], dtype: torch.dtype) -> None:
    given = weight(*shape).to(dtype)
    given[0] = 0.0
    for found, expected in zip(quantize.to_nf4(given), quantize.nf4_by_formula(given), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("held", HELD)
def test_what_is_no_number_is_not_rounded_to_one(held: Held) -> None:
    given = weight(4, 64)
    given[2, 5] = float("nan")
    assert HeldLinear(given, None, held=held, dtype=torch.float32).weight[2].isnan().any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 200), st.integers(0, 9), st.sampled_from(HELD))
def test_no_number_is_further_off_than_a_step(outputs: int, inputs: int, seed: int, held: Held) -> None:
    given = weight(outputs, inputs, seed)
    found = HeldLinear(given, None, held=held, dtype=torch.float32).weight
    largest = given.abs().max()
    assert (found - given).abs().max() <= largest * (0.5 / 127 if held == "int8" else 0.2) + 1e-7


@pytest.mark.parametrize("held", HELD)
def test_a_layer_of_zeros_stays_one(held: Held) -> None:
    assert not HeldLinear(torch.zeros(4, 64), None, held=held, dtype=torch.float32).weight.any()


@pytest.mark.parametrize("held", HELD)
def test_products_and_gradients_are_those_of_the_rounded_weight(held: Held) -> None:
    layer = HeldLinear(weight(), torch.ones(96), held=held, dtype=torch.float32)
    x = torch.randn(7, 128, requires_grad=True)
    plain = torch.nn.functional.linear(x, layer.weight, torch.ones(96))
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    (found,) = torch.autograd.grad(layer(x).square().sum(), x)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("held", "most"), [("nf4", 4.6), ("nf4-double", 4.2), ("int8", 8.3)])
def test_a_number_takes_so_many_bits(held: Held, most: float) -> None:
    layer = HeldLinear(weight(512, 1024), None, held=held, dtype=torch.bfloat16)
    taken = sum(part.numel() * part.element_size() for part in layer.buffers())
    assert taken * 8 / (512 * 1024) <= most
