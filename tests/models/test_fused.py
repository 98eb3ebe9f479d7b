"""The fast way equals transformers' own layers: values, gradients, adapters, every kind of batch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import transformers as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from etude.models import fused, fused_attention, kernels
from etude.models.attention import IMPLEMENTATION, register_tree_attention
from etude.models.probe import proven_way
from etude.models.projections import Projections
from etude.models.scoring import score, site_states
from etude.techniques.lora import LoRA
from tests.models.families import PACKED, SIZES, family
from tests.models.test_scoring import batch_of, some_rows
from tests.toy import toy_loaded

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler on this machine")
CONFIGS = {
    "llama": PACKED["llama"],
    "wide heads": T.LlamaConfig(**SIZES, head_dim=32),
    "biases": T.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "rope scaled": T.LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen2": T.Qwen2Config(**SIZES),
    "mistral": T.MistralConfig(**SIZES, sliding_window=4096),
    "one key head": T.LlamaConfig(**{**SIZES, "num_key_value_heads": 1}),
    "as many key heads": T.LlamaConfig(**{**SIZES, "num_key_value_heads": 4}),
}  # fmt: skip


def model_of(name: str, dtype: torch.dtype = torch.float32) -> T.PreTrainedModel:
    torch.manual_seed(0)
    register_tree_attention()
    module = T.AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation=IMPLEMENTATION).eval().to(dtype)
    for parameter in module.parameters():
        if parameter.ndim == 1:  # norms and biases start as ones and zeros, which would hide mistakes
            parameter.data += torch.randn_like(parameter) * 0.2
    assert fused.prepare(module)
    return module


def values_and_gradients(module: T.PreTrainedModel, way: str, **packing: object) -> tuple[Tensor, dict[str, Tensor]]:
    module.zero_grad()
    batch = batch_of(some_rows(), **packing)
    scored = score(module, batch, way=way)  # type: ignore[arg-type]
    (scored * torch.linspace(0.5, 1.5, len(scored))).sum().backward()
    return scored.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        difference = (ours[name].float() - gradient.float()).abs().max() / (gradient.float().abs().max() + 1e-6)
        assert difference < tolerance, name


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("min_shared", [1, 1000], ids=["tree", "flat"])
def test_values_and_all_gradients_equal_the_plain_layers(name: str, min_shared: int) -> None:
    module = model_of(name)
    ours, our_gradients = values_and_gradients(module, "fused", min_shared=min_shared)
    theirs, their_gradients = values_and_gradients(module, "tree", min_shared=min_shared)
    assert (ours - theirs).abs().max() < 5e-5
    assert_same(our_gradients, their_gradients, 1e-4)


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "v_proj", "down_proj"), ("o_proj",)])
def test_adapters_are_part_of_the_products(targets: tuple[str, ...], rslora: bool) -> None:
    model = toy_loaded()
    technique = LoRA(rank=3, alpha=5, targets=targets, rslora=rslora)
    trainable = technique.attach(model, seed=0)
    for number, parameter in enumerate(trainable.values()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.3
    ours, our_gradients = values_and_gradients(model.module, "fused")
    theirs, their_gradients = values_and_gradients(model.module, "tree")
    assert fused.read_halves(model.module) is not None
    assert (ours - theirs).abs().max() < 5e-5
    assert len(our_gradients) == len(trainable)
    assert_same(our_gradients, their_gradients, 1e-4)
    with technique.without(model), torch.no_grad():
        off = score(model.module, batch_of(some_rows()), way="fused")
    assert (off - ours).abs().max() > 1e-3


def test_bfloat16_agrees_within_its_rounding() -> None:
    exact, exact_gradients = values_and_gradients(model_of("llama"), "fused")
    module = model_of("llama", torch.bfloat16)
    ours, our_gradients = values_and_gradients(module, "fused")
    theirs, their_gradients = values_and_gradients(module, "tree")
    assert (ours - exact).abs().mean() < 1.5 * (theirs - exact).abs().mean() + 1e-3
    for name, gradient in exact_gradients.items():
        of_ours, of_theirs = ((one[name].float() - gradient).norm() for one in (our_gradients, their_gradients))
        assert of_ours < 1.5 * of_theirs + 0.02 * gradient.norm(), name


def test_only_some_weights_learn() -> None:
    module = model_of("llama").requires_grad_(False)
    chosen = ["model.layers.1.self_attn.k_proj.weight", "model.layers.2.input_layernorm.weight"]
    for name in chosen:
        module.get_parameter(name).requires_grad_(True)
    _, ours = values_and_gradients(module, "fused")
    _, theirs = values_and_gradients(module, "tree")
    assert sorted(ours) == sorted(chosen)
    assert_same(ours, theirs, 1e-4)


def test_recomputed_attention_weights_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    module = model_of("llama")
    _, kept = values_and_gradients(module, "fused")
    monkeypatch.setattr(fused_attention, "RECOMPUTE_ABOVE", 0)
    _, recomputed = values_and_gradients(module, "fused")
    assert_same(recomputed, kept, 1e-6)


def test_what_it_cannot_compute_goes_the_other_way() -> None:
    model = toy_loaded()
    technique = LoRA(rank=2, dropout=0.5)
    technique.attach(model, seed=0)
    assert fused.read_halves(model.module) is not None
    with technique.learning(model):  # dropout between the products
        assert fused.read_halves(model.module) is None
        score(model.module, batch_of(some_rows()), way="fused").sum().backward()
    assert not fused.prepare(family("gemma2"))
    windowed = family("mistral")
    assert fused.prepare(windowed)
    a, b = (site_states(windowed, batch_of(some_rows()), way=way) for way in ("fused", "tree"))
    torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_the_probe_chooses_it_and_finds_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proven_way(model_of("llama"), where="llama") == "fused"
    rms_norm = fused.Norm.forward
    monkeypatch.setattr(fused.Norm, "forward", lambda self, x: (rms_norm(self, x)[0] * 1.1, rms_norm(self, x)[1]))
    assert proven_way(model_of("llama"), where="llama") == "tree"


def test_joined_weights_keep_their_names_and_values() -> None:
    torch.manual_seed(0)
    module = T.AutoModelForCausalLM.from_config(CONFIGS["qwen2"]).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert fused.prepare(module)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    attention = module.model.layers[0].self_attn
    joined = Projections.read([attention.q_proj, attention.k_proj, attention.v_proj])
    assert joined is not None
    attention.k_proj.weight.data.fill_(7)
    assert bool((joined.weight_OI == 7).any(1).sum() == attention.k_proj.out_features)
    attention.k_proj.weight.data = attention.k_proj.weight.data.clone()  # as `.to(...)` does
    assert Projections.read([attention.q_proj, attention.k_proj, attention.v_proj]) is None


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    shared=st.integers(0, 20),
    rank=st.integers(0, 4),
)
def test_any_batch_equals_the_plain_layers(lengths: list[int], shared: int, rank: int) -> None:
    model = toy_loaded()
    if rank:
        for parameter in LoRA(rank=rank).attach(model, seed=1).values():
            parameter.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(sum(lengths) + shared)
    draw = [tuple(torch.randint(3, 300, (n + 1,), generator=generator).tolist()) for n in lengths]
    rows = [draw[0][:shared] + row for row in draw]
    batch = batch_of(rows, min_shared=2)
    with torch.no_grad():
        ours, theirs = (score(model.module, batch, way=way) for way in ("fused", "tree"))
    assert (ours - theirs).abs().max() < 5e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_equal_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # noqa: E731
    close = {"atol": 1e-5, "rtol": 2e-5} if dtype == torch.float32 else {"atol": 1e-2, "rtol": 1e-2}

    gate_up, out = draw(5, 2 * 37) * 8, torch.empty(5, 37, dtype=dtype)
    kernels.run("swiglu", gate_up, out, 5, 37)
    gate, up = gate_up.float().chunk(2, -1)
    torch.testing.assert_close(out.float(), torch.nn.functional.silu(gate) * up, **close)

    own, above = draw(6, 3, 3) * 5, draw(6, 3, 7) * 5
    mask = torch.ones(3, 3, dtype=torch.bool).triu(1)
    expected = torch.cat([above.float(), own.float().masked_fill(mask, float("-inf"))], -1).softmax(-1)
    kernels.run("tree_softmax", own, above, 18, 3, 7)
    torch.testing.assert_close(torch.cat([above, own], -1).float(), expected, **close)

    logits, target = draw(4, 301) * 10, torch.tensor([0, 300, 7, 7])
    at, normalizer, grad = torch.empty(4), torch.empty(4), torch.tensor([1.0, -2.0, 0.0, 0.5])
    reference = logits.float().requires_grad_(True)
    expected = reference.log_softmax(-1).gather(1, target[:, None])[:, 0]
    kernels.run("log_softmax_at", logits, target, at, normalizer, 4, 301)
    torch.testing.assert_close(at, expected.detach(), atol=1e-5, rtol=1e-5)
    (expected * grad).sum().backward()
    kernels.run("log_softmax_gradient", logits, target, normalizer, grad, 4, 301)
    torch.testing.assert_close(logits.float(), reference.grad, **close)


def test_exponentials_keep_their_range_and_what_is_no_number() -> None:
    scores = torch.tensor([[-1e30, 0.0, 88.0, 88.0], [0.0, float("nan"), 1.0, 1.0], [3e38, -3e38, 0.0, 0.0]])
    own = scores.clone().view(3, 1, 4).repeat(1, 4, 1).contiguous()
    kernels.run("tree_softmax", own, None, 12, 4, 0)
    assert own[0, 3].tolist() == pytest.approx([0.0, 0.0, 0.5, 0.5])
    assert bool(own[1, 3].isnan().all())
    assert own[2, 3].tolist() == [1.0, 0.0, 0.0, 0.0]
    values = [-87.0, -50.0, -3.0, -0.1, 0.0]
    for low, high in pairwise(values):
        pair = torch.tensor([[[low, high]]]).repeat(1, 2, 1).contiguous()
        kernels.run("tree_softmax", pair, None, 2, 2, 0)
        assert pair[0, 1].tolist() == pytest.approx(torch.tensor([low, high]).double().softmax(0).tolist(), rel=1e-6)
