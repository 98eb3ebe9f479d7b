"""Activations computed again give the same gradients from less memory; segments in runs the same as whole ones."""

from __future__ import annotations

import pytest
import torch
import transformers as T
from torch import Tensor

from etude.models import fused, kernels, layout, recompute
from etude.models.attention import IMPLEMENTATION, register_tree_attention
from etude.models.scoring import score
from tests.models.families import SIZES, family
from tests.models.test_scoring import batch_of, some_rows

CONFIGS = {
    "llama": T.LlamaConfig(**SIZES),
    "qwen3": T.Qwen3Config(**SIZES),
    "gpt2": T.GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=SIZES["vocab_size"], n_positions=512),
}


def model_of(name: str, **settings: float) -> T.PreTrainedModel:
    torch.manual_seed(0)
    register_tree_attention()
    config = CONFIGS[name].from_dict({**CONFIGS[name].to_dict(), **settings})
    return T.AutoModelForCausalLM.from_config(config, attn_implementation=IMPLEMENTATION).eval()


def values_and_gradients(module: T.PreTrainedModel, way: str, checkpointing: str) -> tuple[Tensor, list[Tensor]]:
    module.zero_grad()
    scored = score(module, batch_of(some_rows()), way=way, checkpointing=checkpointing)  # type: ignore[arg-type]
    (scored * torch.linspace(0.5, 1.5, len(scored))).sum().backward()
    return scored.detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]


class Saved:
    """Bytes that autograd was asked to keep."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.bytes += tensor.nbytes
        return tensor


def kept_by(module: T.PreTrainedModel, way: str, checkpointing: str) -> int:
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        score(module, batch_of(some_rows()), way=way, checkpointing=checkpointing)  # type: ignore[arg-type]
    return saved.bytes


@pytest.mark.parametrize(("name", "way"), [("llama", "fused"), ("llama", "tree"), ("qwen3", "tree"), ("gpt2", "tree")])
def test_the_same_gradients_from_less_memory(name: str, way: str) -> None:
    off = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "summary_first_dropout": 0.0}
    module = model_of(name, **(off if name == "gpt2" else {}))
    if way == "fused" and not (kernels.compiled() and fused.prepare(module)):
        pytest.skip("no C compiler on this machine")
    kept, kept_gradients = values_and_gradients(module, way, "never")
    again, gradients = values_and_gradients(module, way, "always")
    assert torch.equal(kept, again)
    assert len(gradients) == len(kept_gradients)
    assert all(torch.equal(one, other) for one, other in zip(gradients, kept_gradients, strict=True))
    assert kept_by(module, way, "always") < 0.7 * kept_by(module, way, "never")
    assert not any(part.training for part in module.modules())


def test_a_family_that_drops_out_in_its_layers_keeps_its_activations() -> None:
    module = model_of("gpt2", resid_pdrop=0.1)
    kept, _ = values_and_gradients(module, "tree", "never")
    again, _ = values_and_gradients(module, "tree", "always")
    assert torch.equal(kept, again)


def test_auto_decides_by_what_would_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    module = model_of("llama")
    assert not recompute.is_wanted(module, 100, "auto")
    monkeypatch.setattr(recompute, "MOST_KEPT_BYTES", recompute.kept_bytes(module, 99))
    assert recompute.is_wanted(module, 100, "auto")
    assert not recompute.is_wanted(module, 99, "auto")
    with torch.no_grad():
        assert not recompute.is_wanted(module, 100, "always")


@pytest.mark.parametrize("way", ["fused", "tree"])
def test_segments_in_runs_equal_whole_ones(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = family("llama")
    if way == "fused" and not (kernels.compiled() and fused.prepare(module)):
        pytest.skip("no C compiler on this machine")
    whole, whole_gradients = values_and_gradients(module, way, "never")
    monkeypatch.setattr(layout, "LONGEST_RUN", 3)
    cut, gradients = values_and_gradients(module, way, "never")
    assert (whole - cut).abs().max() < 1e-5
    for one, other in zip(gradients, whole_gradients, strict=True):
        assert (one - other).abs().max() < 1e-4 * (1 + other.abs().max())
