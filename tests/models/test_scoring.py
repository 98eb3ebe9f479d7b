"""Scoring: any tree, chunks, windows of rows; `test_exactness` holds it against many families."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from etude.batch import Batch, Sample, TokenRow
from etude.models import attention
from etude.models.attention import attention_set_to, follow, follows
from etude.models.scoring import score, score_rows
from etude.packing import pack
from tests.models.families import family, forget_long_rows
from tests.toy import toy_loaded, toy_module

if TYPE_CHECKING:
    import pytest
    from transformers import PreTrainedModel


def plain_log_probabilities(module: PreTrainedModel, rows: list[tuple[int, ...]]) -> Tensor:
    """Each row alone through the model's own forward pass and attention, whole vocabulary."""
    parts = []
    with attention_set_to(module, "eager") if follows(module) else nullcontext():
        for row in rows:
            forget_long_rows(module)
            tokens = torch.tensor([row])
            logits = module(input_ids=tokens[:, :-1], use_cache=False).logits[0].float()
            parts.append(logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0])
    return torch.cat(parts)


def batch_of(rows: list[tuple[int, ...]], **settings: object) -> Batch:
    learned = [TokenRow(row, (0.0, *[1.0] * (len(row) - 1))) for row in rows]
    return pack([Sample(str(i), (row,)) for i, row in enumerate(learned)], **settings)


def some_rows() -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(3)
    draw = lambda n: tuple(torch.randint(3, 97, (n,), generator=generator).tolist())  # noqa: E731
    prefix, branch = draw(12), draw(10)
    return [prefix + draw(9), prefix + branch + draw(5), prefix + branch + draw(17), draw(30), prefix]


def test_recomputed_attention_weights_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = toy_module(), batch_of(some_rows())
    grads = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(attention, "RECOMPUTE_ABOVE", limit)
        module.zero_grad()
        follow(module)
        score(module, batch).sum().backward()
        grads.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


tokens = st.lists(st.integers(3, 6), min_size=2, max_size=12).map(tuple)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(tokens, min_size=1, max_size=8), min_shared=st.integers(1, 4))
def test_any_tree_equals_flat_rows(rows: list[tuple[int, ...]], min_shared: int) -> None:
    module = toy_module(layers=1, hidden=32)
    follow(module)
    with torch.no_grad():
        tree = score(module, batch_of(rows, min_shared=min_shared))
        flat = score(module, batch_of(rows, share=False))
    assert (tree - flat).abs().max() < 1e-5


def test_many_sites_are_scored_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from etude.models import scoring

    module, batch = family("gemma2"), batch_of(some_rows() * 3, share=False)
    whole = score(module, batch)
    monkeypatch.setattr(scoring, "CHUNK_NUMBERS", 1)
    assert (score(module, batch) - whole).abs().max() < 1e-6


def test_score_rows_gives_every_token_of_every_row() -> None:
    model = toy_loaded()
    follow(model.module)
    rows = some_rows()
    seen: list[tuple[int, int]] = []
    scored = score_rows(
        model, [TokenRow(row, (0.0,) * len(row)) for row in rows], tokens_per_batch=40,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [len(one) for one in scored] == [len(row) - 1 for row in rows]
    assert (torch.cat(scored) - plain_log_probabilities(model.module, rows)).abs().max() < 1e-5
    assert seen[-1] == (len(rows), len(rows))
