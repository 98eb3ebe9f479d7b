"""The GPU's kernels against plain products and against the hand-written ones, through references that run on a CPU.

On a CPU torch computes flex attention's gradients only uncompiled, where it looks at the mask but not at its blocks,
and has no variable-length kernel. So blocks are held against the mask, gradients are computed uncompiled, the compiled
kernel, which follows the blocks, is run without gradients, and the variable-length one is replaced by its definition.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._higher_order_ops.flex_attention import flex_attention as uncompiled_flex
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from etude.batch import Sample, TokenRow
from etude.models import attention, gpu_attention
from etude.models.attention import tree_layout
from etude.models.gpu_attention import failure, plainly, unfit
from etude.models.gpu_kernels import BLOCK, Heads, block_mask, flex, varlen
from etude.models.layout import Layout, layout_of
from etude.packing import pack

CPU = torch.device("cpu")
rows_of_tokens = st.lists(st.lists(st.integers(3, 4), min_size=1, max_size=30), min_size=1, max_size=7)
windows = st.sampled_from([None, 1, 3, 9, 1000])
caps = st.sampled_from([None, 1.5])


def layout_for(rows: list[list[int]], *, padding: int = 0, share: bool = True, repeat: int = 1) -> Layout:
    """Each row is followed by a learned token, so that all of it has to be computed."""
    long = [[token for token in row for _ in range(repeat)] for row in rows]
    samples = [Sample(str(i), (TokenRow((*row, 9), (*[0.0] * len(row), 1.0)),)) for i, row in enumerate(long)]
    return layout_of(pack(samples, share=share, min_shared=1), padding=padding)


def drawn(num_tokens: int, *, query: int = 4, key: int = 2, size: int = 16, value: int | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_tokens)
    shapes = (query, num_tokens, size), (key, num_tokens, size), (key, num_tokens, value or size)
    return [torch.randn(shape, generator=generator).requires_grad_(True) for shape in shapes]


def differentiable_flex(q: Tensor, k: Tensor, v: Tensor, *, score_mod: Any, block_mask: Any, **how: Any) -> Tensor:
    """torch's definition of flex attention with its gradients, before anything is compiled."""
    assert how == {"scale": 1.0, "enable_gqa": True}
    options = {"BACKEND": "AUTO", "OUTPUT_LOGSUMEXP": True, "OUTPUT_MAX": False}
    out, *_ = uncompiled_flex(q, k, v, score_mod, block_mask.as_tuple(), 1.0, options, (), ())
    return out


def varlen_by_definition(
    q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, longest_q: int, longest_k: int, **how: Any
) -> Tensor:
    """What torch documents for `varlen_attn`: row after row, `window_size[0]` tokens to the left, none to the right."""
    left, right = how["window_size"]
    assert right == 0
    assert starts_q is starts_k
    assert starts_q.dtype == torch.int32
    lengths = starts_q.diff().tolist()
    assert longest_q == longest_k == max(lengths)
    parts = []
    for one_q, one_k, one_v in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        distance = torch.arange(len(one_q))[:, None] - torch.arange(len(one_q))[None]
        visible = (distance >= 0) & (distance <= (left if left >= 0 else len(one_q)))
        parts.append(
            scaled_dot_product_attention(
                *(x.transpose(0, 1)[None] for x in (one_q, one_k, one_v)),
                attn_mask=visible,
                scale=how["scale"],
                enable_gqa=how["enable_gqa"],
            )[0].transpose(0, 1)
        )
    return torch.cat(parts)


def by_group_products(q: Tensor, k: Tensor, v: Tensor, layout: Layout, **how: Any) -> Tensor:
    with tree_layout(layout):
        return attention.attend(
            nn.Identity(), q[None], k[None], v[None], None, how["scale"], 0.0, how["window"], how["cap"]
        )[0][0]


def assert_equal_where_real(ours: Callable[..., Tensor], layout: Layout, **how: Any) -> None:
    """Values and gradients of all tokens but padding, in float32."""
    inputs = drawn(len(layout.end_T))
    real = len(layout.end_T) - layout.padding
    weight = torch.linspace(-1, 1, 16)
    outs = [run(*inputs, layout, scale=0.3, **how)[:real] for run in (ours, plainly)]
    gradients = [torch.autograd.grad((out * weight).sum(), inputs) for out in outs]
    for a, b in zip([outs[0], *gradients[0]], [outs[1], *gradients[1]], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows=rows_of_tokens, padding=st.integers(0, 3), window=windows, cap=caps)
def test_group_products_equal_the_definition_on_any_tree(
    rows: list[list[int]], padding: int, window: int | None, cap: float | None
) -> None:
    assert_equal_where_real(by_group_products, layout_for(rows, padding=padding), window=window, cap=cap)


@settings(max_examples=40, deadline=None)
@given(rows=rows_of_tokens, padding=st.integers(0, 3), window=windows, cap=caps)
def test_flex_equals_the_definition_on_any_tree(
    rows: list[list[int]], padding: int, window: int | None, cap: float | None
) -> None:
    def ours(*inputs: Any, **how: Any) -> Tensor:
        return flex(*inputs, **how, kernel=differentiable_flex)

    assert_equal_where_real(ours, layout_for(rows, padding=padding), window=window, cap=cap)


@settings(max_examples=40, deadline=None)
@given(rows=rows_of_tokens, padding=st.integers(0, 3), window=windows)
def test_varlen_equals_the_definition_on_any_rows(rows: list[list[int]], padding: int, window: int | None) -> None:
    def ours(*inputs: Any, **how: Any) -> Tensor:
        return varlen(*inputs, **how, kernel=varlen_by_definition)

    layout = layout_for(rows, padding=padding, share=False)
    assert layout.rows is not None
    assert_equal_where_real(ours, layout, window=window, cap=None)


@settings(max_examples=60, deadline=None)
@given(
    rows=rows_of_tokens, padding=st.integers(0, 200), window=st.sampled_from([None, 1, 40, 128, 300, 5000]),
    repeat=st.sampled_from([1, 11, 40]),
)  # fmt: skip
def test_blocks_hold_exactly_what_the_mask_shows(
    rows: list[list[int]], padding: int, window: int | None, repeat: int
) -> None:
    layout = layout_for(rows, padding=padding, repeat=repeat)
    mask = block_mask(layout, window)
    num_tokens = len(layout.end_T)
    i, j = torch.arange(num_tokens)[:, None], torch.arange(num_tokens)[None]
    visible = (j <= i) & (i < layout.end_T[j])
    if window is not None:
        visible &= layout.position_T[i] - layout.position_T[j] < window
    assert torch.equal(mask.mask_mod(None, None, i, j), visible)
    blocks = -(-num_tokens // BLOCK)
    seen = torch.zeros(2, blocks, blocks, dtype=torch.bool)
    listed = (mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices)
    for kind, (counts, order) in enumerate(listed):
        for row in range(blocks):
            seen[kind, row, order[0, 0, row, : counts[0, 0, row]].long()] = True
    partial, full = (one.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1) for one in seen)
    partial, full = (one[:num_tokens, :num_tokens] for one in (partial, full))
    assert not (partial & full).any(), "no block is computed twice"
    assert bool((visible | ~full).all()), "a full block shows all of it"
    assert bool(((partial | full) | ~visible).all()), "nothing visible is skipped"
    if window is None:
        shown = torch.stack([part.any() for row in visible.split(BLOCK) for part in row.split(BLOCK, dim=1)])
        assert torch.equal(seen.any(0).flatten(), shown), "nothing invisible is computed"


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
@pytest.mark.parametrize("cap", [None, 1.5])
def test_the_compiled_kernel_follows_the_blocks(cap: float | None) -> None:
    """Several lengths, so that the one with any number of tokens is met."""
    for rows, padding in [([5, 3, 9], 0), ([2, 2, 7, 1], 3), ([9, 9, 9, 4], 1)]:
        tree = [[3] * 4 + [4 + i] * n for i, n in enumerate(rows)]
        layout = layout_for(tree, repeat=20)
        layout = layout_for(tree, repeat=20, padding=-len(layout.end_T) % BLOCK + padding)
        inputs = [x.detach() for x in drawn(len(layout.end_T), query=6, value=32)]
        for window in (None, 70):
            out = flex(*inputs, layout, scale=0.3, window=window, cap=cap)
            torch.testing.assert_close(
                out, plainly(*inputs, layout, scale=0.3, window=window, cap=cap), atol=1e-5, rtol=1e-5
            )


def heads(**changed: Any) -> Heads:
    usual = {
        "device": CPU, "dtype": torch.float32, "query": 4, "key": 2, "size": 16, "value_size": 16, "capped": False,
        "learns": True,
    }  # fmt: skip
    return Heads(**{**usual, **changed})


def test_what_a_kernel_cannot_do_is_known() -> None:
    bf16 = torch.bfloat16
    assert unfit("flex", heads(), (9, 0)) is None
    assert unfit("flex", heads(dtype=bf16, capped=True, size=96, value_size=64), (9, 0)) is None
    assert unfit("varlen", heads(dtype=bf16), (8, 0)) is None
    for name, changed, capability, why in [
        ("flex", {}, (7, 5), "compute capability 7.5"),
        ("flex", {"size": 8}, (9, 0), "smaller than 16"),
        ("flex", {"value_size": 512}, (9, 0), "larger than 256"),
        ("varlen", {}, (9, 0), "16 bits"),
        ("varlen", {"dtype": bf16, "capped": True}, (9, 0), "capped"),
        ("varlen", {"dtype": bf16, "size": 20, "value_size": 20}, (9, 0), "multiple of 8"),
        ("varlen", {"dtype": bf16, "size": 24}, (9, 0), "one size"),
    ]:
        assert why in (unfit(name, heads(**changed), capability) or ""), (name, changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns", [True, False])
def test_the_trial_finds_a_kernel_that_fails_or_is_wrong(dtype: torch.dtype, learns: bool) -> None:
    def right(*inputs: Any, **how: Any) -> Tensor:
        return flex(*inputs, **how, kernel=differentiable_flex)

    def without_window(*inputs: Any, **how: Any) -> Tensor:
        return right(*inputs, **{**how, "window": None})

    def half_a_gradient(q: Tensor, *others: Any, **how: Any) -> Tensor:
        return right((q + q.detach()) / 2, *others, **how)

    def not_a_number(*inputs: Any, **how: Any) -> Tensor:
        return right(*inputs, **how) * torch.nan

    def breaking(*inputs: Any, **how: Any) -> Tensor:
        raise NotImplementedError("no such\nkernel")

    kind = heads(dtype=dtype, learns=learns)
    assert failure("flex", kind, right) is None
    assert "differ" in (failure("flex", kind, without_window) or "")
    assert ("differ" in (failure("flex", kind, half_a_gradient) or "")) == learns
    assert "differ by nan" in (failure("flex", kind, not_a_number) or "")
    assert failure("flex", kind, breaking) == "NotImplementedError: no such"


def test_a_trial_inside_a_recomputed_pass_changes_nothing_about_it() -> None:
    tried: list[str | None] = []

    def double(x: Tensor) -> Tensor:
        doubled = (x * 2).sin()
        if not tried:  # the answer is kept, so the second pass tries nothing
            tried.append(failure("flex", heads(), lambda *a, **how: flex(*a, **how, kernel=differentiable_flex)))
        return doubled.exp()

    x = torch.linspace(-1, 1, 7, requires_grad=True)
    (found,) = torch.autograd.grad(checkpoint(double, x, use_reentrant=False).sum(), x)
    assert tried == [None]
    torch.testing.assert_close(found, torch.autograd.grad(double(x).sum(), x)[0])


def test_no_kernel_means_products_and_a_word(caplog: pytest.LogCaptureFixture) -> None:
    gpu_attention.is_proven.cache_clear()
    caplog.set_level("INFO")
    layout = layout_for([[3] * 9, [3] * 5 + [4] * 5])
    inputs = drawn(len(layout.end_T), size=8)
    for _ in range(2):
        assert gpu_attention.attend(*inputs, layout, scale=0.3, window=None, cap=None) is None
    said = [record.getMessage() for record in caplog.records if record.name.startswith("etude")]
    why = "heads are smaller than 16"
    assert said == [f"no flex attention on cpu (4/2 heads of 8, float32): {why}; slower products do it"]
    assert gpu_attention.attend(*drawn(len(layout.end_T)), layout, scale=0.3, window=None, cap=None) is None
    assert "no flex attention on cpu (4/2 heads of 16, float32)" in caplog.text, "torch has no gradients for it there"


def test_rows_are_known_where_nothing_is_shared() -> None:
    assert layout_for([[3] * 9, [3] * 5 + [4] * 5]).rows is None
    rows = layout_for([[3] * 9, [3] * 5 + [4] * 5], share=False, padding=4).rows
    assert rows is not None
    assert rows.starts_R.tolist() == [0, 9, 19, 23]
    assert rows.longest == 10
