"""Packed scoring equals the model's own forward pass: log-probabilities and gradients, for many families."""

from __future__ import annotations

import pytest
import torch
import transformers as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from etude.batch import Batch, Sample, TokenRow
from etude.models import attention
from etude.models.attention import IMPLEMENTATION, register_tree_attention
from etude.models.probe import probe_batch, proven_way
from etude.models.scoring import score, score_rows
from etude.packing import pack
from tests.toy import toy_loaded, toy_module

SIZES = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WITHOUT_GQA = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
FAMILIES = {
    "llama": T.LlamaConfig(**SIZES),
    "qwen2": T.Qwen2Config(**SIZES),
    "qwen3": T.Qwen3Config(**SIZES, head_dim=16),
    "mistral": T.MistralConfig(**SIZES, sliding_window=6),
    "gemma2": T.Gemma2Config(**SIZES, head_dim=16, sliding_window=6, query_pre_attn_scalar=16),
    "gemma3": T.Gemma3TextConfig(**SIZES, head_dim=16, sliding_window=6, query_pre_attn_scalar=16),
    "phi": T.PhiConfig(**{**SIZES, "num_key_value_heads": 4}),
    "phi3": T.Phi3Config(**SIZES),
    "gpt2": T.GPT2Config(vocab_size=97, n_embd=64, n_layer=3, n_head=4, n_positions=128),
    "gpt_neox": T.GPTNeoXConfig(**WITHOUT_GQA),
    "smollm3": T.SmolLM3Config(**SIZES),
    "olmo2": T.Olmo2Config(**SIZES),
    "cohere": T.CohereConfig(**SIZES, logit_scale=0.25),
    "granite": T.GraniteConfig(**SIZES, logits_scaling=3.0),
}


def family(name: str) -> T.PreTrainedModel:
    torch.manual_seed(0)
    register_tree_attention()
    return T.AutoModelForCausalLM.from_config(FAMILIES[name], attn_implementation=IMPLEMENTATION).eval()


def plain_log_probabilities(module: T.PreTrainedModel, rows: list[tuple[int, ...]]) -> Tensor:
    """Each row alone through the model's own forward pass, whole vocabulary."""
    parts = []
    for row in rows:
        tokens = torch.tensor([row])
        logits = module(input_ids=tokens, use_cache=False).logits[0, :-1].float()
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


@pytest.mark.parametrize("name", FAMILIES)
def test_packed_log_probabilities_and_gradients_equal_the_plain_forward(name: str) -> None:
    module, rows = family(name), some_rows()
    packed = score(module, batch_of(rows))
    packed.sum().backward()
    of_packed = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    plain = plain_log_probabilities(module, rows)
    plain.sum().backward()
    assert (packed - plain).abs().max() < 2e-5
    for parameter_name, parameter in module.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.abs().max() + 1e-3
            assert (of_packed[parameter_name] - parameter.grad).abs().max() / scale < 2e-4, parameter_name


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_probe_accepts_families_that_pack(name: str) -> None:
    assert proven_way(family(name), where=name) != "rows"


def test_probe_sends_recurrent_models_row_by_row(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    module = T.AutoModelForCausalLM.from_config(
        T.MambaConfig(vocab_size=97, hidden_size=64, num_hidden_layers=2)
    ).eval()
    assert proven_way(module, where="mamba") == "rows"
    assert "cannot be packed" in caplog.text
    rows = some_rows()
    unpacked = score(module, batch_of(rows), way="rows")
    assert (unpacked - plain_log_probabilities(module, rows)).abs().max() < 1e-4


def test_recomputed_attention_weights_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = toy_module(), batch_of(some_rows())
    grads = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(attention, "RECOMPUTE_ABOVE", limit)
        module.zero_grad()
        module.set_attn_implementation(IMPLEMENTATION)
        score(module, batch).sum().backward()
        grads.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


tokens = st.lists(st.integers(3, 6), min_size=2, max_size=12).map(tuple)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(tokens, min_size=1, max_size=8), min_shared=st.integers(1, 4))
def test_any_tree_equals_flat_rows(rows: list[tuple[int, ...]], min_shared: int) -> None:
    module = toy_module(layers=1, hidden=32)
    register_tree_attention()
    module.set_attn_implementation(IMPLEMENTATION)
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
    model.module.set_attn_implementation(IMPLEMENTATION)
    rows = some_rows()
    seen: list[tuple[int, int]] = []
    scored = score_rows(
        model, [TokenRow(row, (0.0,) * len(row)) for row in rows], tokens_per_batch=40,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [len(one) for one in scored] == [len(row) - 1 for row in rows]
    assert (torch.cat(scored) - plain_log_probabilities(model.module, rows)).abs().max() < 1e-5
    assert seen[-1] == (len(rows), len(rows))


def test_probe_batch_has_a_nested_branch() -> None:
    batch = probe_batch(100)
    depth = [0 if s.parent < 0 else 1 for s in batch.segments]
    grand = [s for s in batch.segments if s.parent >= 0 and batch.segments[s.parent].parent >= 0]
    assert sum(depth) >= 3
    assert len(grand) == 2
