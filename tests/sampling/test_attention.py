"""Attention while decoding against an explicit loop over who may see whom."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from etude.errors import ModelError
from etude.models.attention import attention_set_to
from etude.sampling.attention import (
    IMPLEMENTATION,
    PADDING,
    Sight,
    attend,
    decoding_attention,
    seeing,
)  # fmt: skip
from tests.toy import toy_module


def naive(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """One row, one head, one query at a time."""
    b, h, q, _ = query.shape
    out = torch.zeros(b, q, h, value.shape[-1])
    for row in range(b):
        for head in range(h):
            shared = head // (h // key.shape[1])
            for i in range(q):
                scores = [float(query[row, head, i] @ k) * scale for k in key[row, shared]]
                scores = [softcap * math.tanh(s / softcap) for s in scores] if softcap else scores
                weights = [math.exp(s) if visible[row, i, j] else 0.0 for j, s in enumerate(scores)]
                total = sum(weights) + (math.exp(float(sinks[head])) if sinks is not None else 0.0)
                for j, weight in enumerate(weights):
                    out[row, i, head] += weight / (total or 1.0) * value[row, shared, j]
    return out


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    cached=st.integers(0, 4),
    groups=st.sampled_from([1, 2]),
    window=st.sampled_from([None, 1, 3, 50]),
    softcap=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_the_naive_loop(
    lengths: list[int], cached: int, groups: int, window: int | None, softcap: float | None, sinks: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, width = len(lengths), max(lengths)
    query = torch.randn(rows, 2 * groups, width, 4, generator=generator)
    key = torch.randn(rows, 2, cached + width, 4, generator=generator)
    value = torch.randn(rows, 2, cached + width, 3, generator=generator)
    position = torch.full((rows, width), -1)
    for i, length in enumerate(lengths):
        position[i, width - length :] = torch.arange(cached, cached + length)
    keys = torch.cat([torch.arange(cached).expand(rows, cached), position.masked_fill(position < 0, PADDING)], 1)
    sight = Sight(position.clamp(min=0), keys, padded=len(set(lengths)) > 1, longest=cached + width - 1)
    sinks_H = torch.randn(2 * groups, generator=generator) if sinks else None
    with seeing(sight):
        found, _ = attend(
            nn.Identity(), query, key, value, None, scaling=0.3, sliding_window=window, softcap=softcap, s_aux=sinks_H
        )
    distance = position[:, :, None] - keys[:, None, :]
    visible = (distance >= 0) & (distance < (window or 1000))
    wanted = naive(query, key, value, visible, 0.3, softcap, sinks_H)
    real = position >= 0
    torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=1e-4)
    assert found.isfinite().all()


def test_one_query_without_padding_needs_no_mask() -> None:
    sight = Sight(torch.tensor([[4], [4]]), torch.arange(5).expand(2, 5), padded=False, longest=4)
    assert sight.bias(None, torch.float32) is None
    assert sight.bias(5, torch.float32) is None
    assert sight.bias(4, torch.float32) is not None


def test_a_mask_is_made_once_a_pass() -> None:
    sight = Sight(torch.tensor([[4]]), torch.tensor([[PADDING, 0, 1]]), padded=True, longest=4)
    assert sight.bias(None, torch.float32) is sight.bias(99, torch.float32)


def test_the_models_own_attention_comes_back_after_an_error() -> None:
    module = toy_module()
    module.set_attn_implementation("eager")
    seen = []

    def fail() -> None:
        with decoding_attention(module):
            seen.append(module.config._attn_implementation)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert seen == [IMPLEMENTATION]
    assert module.config._attn_implementation == "eager"
    with attention_set_to(module, "sdpa"):
        assert module.model.config._attn_implementation == "sdpa"
    assert module.model.config._attn_implementation == "eager"


def test_a_learned_position_bias_is_refused_by_name() -> None:
    x = torch.zeros(1, 1, 1, 2)
    sight = Sight(torch.tensor([[0]]), torch.tensor([[0]]), padded=False, longest=0)
    with seeing(sight), pytest.raises(ModelError, match="Identity adds a position bias"):
        attend(nn.Identity(), x, x, x, None, position_bias=x)
