"""Attention in blocks equals attention in plain products: values and gradients, over random trees and head sizes."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from etude.batch import Batch, Sample, TokenRow
from etude.models import kernels
from etude.models.fused_attention import Heads, Rotation, attend, attend_backward
from etude.models.layout import Layout, layout_of
from etude.packing import pack

pytestmark = pytest.mark.skipif(not kernels.multiplies(), reason="this processor does not multiply bfloat16")


def tree_of(num_rows: int, shared: int, longest: int, seed: int) -> Batch:
    """Rows that leave a common beginning at its end, in its middle, or have none."""
    chance = random.Random(seed)
    prefix = [chance.randrange(1000) for _ in range(shared)]
    rows = []
    for _ in range(num_rows):
        own = [chance.randrange(1000) for _ in range(chance.randint(2, longest))]
        rows.append((*prefix[: chance.choice([shared, shared // 2, 0])], *own))
    samples = [Sample(str(i), (TokenRow(row, (0.0, *[1.0] * (len(row) - 1))),)) for i, row in enumerate(rows)]
    return pack(samples, min_shared=2)


def both_passes(z: Tensor, d_out: Tensor, heads: Heads, layout: Layout) -> tuple[Tensor, Tensor]:
    frequency = 1e4 ** (-torch.arange(heads.size // 2) / (heads.size // 2))
    angles = torch.outer(layout.position_T.float(), frequency)
    rotation = Rotation(angles.cos(), angles.sin())
    out, kept = attend(z, heads, layout, rotation)
    return out.float(), attend_backward(d_out, kept, heads, layout, rotation).float()


@settings(max_examples=30, deadline=None)
@given(
    num_rows=st.integers(1, 9),
    shared=st.sampled_from([0, 5, 40, 100]),
    longest=st.sampled_from([3, 30, 33, 150]),
    heads=st.sampled_from([(9, 3, 64), (4, 4, 32), (4, 1, 128), (2, 1, 96)]),
    seed=st.integers(0, 1000),
)
def test_blocks_equal_plain_products(
    num_rows: int, shared: int, longest: int, heads: tuple[int, int, int], seed: int
) -> None:
    query, key, size = heads
    sizes = Heads(query, key, size, size**-0.5)
    batch = tree_of(num_rows, shared, longest, seed)
    padding = -len(batch.tokens_T) % 32
    layout = layout_of(batch, padding=padding)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(batch.tokens_T) + padding, sizes.width, generator=generator).bfloat16()
    d_out = torch.randn(len(z), query * size, generator=generator).bfloat16()
    ours, exact = both_passes(z, d_out, sizes, layout), both_passes(z.float(), d_out.float(), sizes, layout)
    for found, expected in zip(ours, exact, strict=True):
        assert bool(found.isfinite().all())
        assert (found - expected).norm() < 0.01 * expected.norm()
        assert not bool(found[len(batch.tokens_T) :].any())


def test_very_unequal_scores_stay_finite() -> None:
    batch = tree_of(3, 40, 60, seed=1)
    sizes = Heads(2, 1, 32, 1.0)
    layout = layout_of(batch)
    z = torch.randn(len(batch.tokens_T), sizes.width, generator=torch.Generator().manual_seed(0)).mul_(30).bfloat16()
    out, dz = both_passes(z, torch.ones(len(z), 64).bfloat16(), sizes, layout)
    assert bool(dz.isfinite().all())
    assert float(out.abs().max()) <= float(z[:, -32:].abs().max())
