"""PEFT reads what is written in its formats and gives the same answers; what it writes is read here."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from etude.models.loaded import LoadedModel
from etude.techniques.base import Technique
from etude.techniques.policy import attach_adapter
from tests.techniques.every import EVERY, attached, kind, loaded, moved
from tests.toy import toy_module

TOKENS = torch.tensor([[1, 40, 41, 42, 43, 44]])
STORED_AS_PEFT_DOES = [name for name in EVERY if kind(name) in ("lora", "prompt", "p-tuning", "prefix", "ia3", "peft")]


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS), use_cache=False).logits


def ours(model: LoadedModel) -> torch.Tensor:
    """Logits of the last tokens, behind virtual ones if there are any."""
    from etude.models.layers.virtual import lead_ids

    lead = torch.tensor([lead_ids(model.module)], dtype=torch.long)
    with torch.no_grad():
        found = model.module(input_ids=torch.cat([lead, TOKENS], dim=1), use_cache=False).logits
    return found[:, lead.shape[1] :]


@pytest.mark.parametrize("name", STORED_AS_PEFT_DOES)
def test_peft_loads_the_adapter_and_gives_the_same_logits(name: str, toy_base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = moved(attached(toy_base, EVERY[name]))
    policy.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a key or a setting that PEFT does not know
        warnings.filterwarnings("ignore", message=".*Could not find a config file.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        theirs = PeftModel.from_pretrained(toy_module(), tmp_path).eval()
    expected = logits(theirs)
    if kind(name) in ("prompt", "p-tuning"):
        expected = expected[:, -TOKENS.shape[1] :]
    assert (ours(policy.model) - expected).abs().max() < 2e-5
    assert (expected - logits(toy_module())).abs().max() > 1e-2, "it does something"


def peft_configs() -> dict[str, object]:
    import peft

    layers = {"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    tokens = {"num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}
    return {
        "lora": peft.LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, **layers),
        "dora": peft.LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, use_dora=True, **layers),
        "patterns": peft.LoraConfig(
            r=4, init_lora_weights=False, rank_pattern={"q_proj": 2}, alpha_pattern={r"1\..*\.q_proj": 4}, **layers
        ),
        "ia3": peft.IA3Config(feedforward_modules=["down_proj"], init_ia3_weights=False, **layers),
        "prompt": peft.PromptTuningConfig(**tokens),
        "p-tuning": peft.PromptEncoderConfig(encoder_hidden_size=16, **tokens),
        "prefix": peft.PrefixTuningConfig(**tokens),
        "loha": peft.LoHaConfig(r=4, init_weights=False, **layers),
    }


@pytest.mark.parametrize("name", sorted(peft_configs()))
def test_what_peft_wrote_is_read(name: str, toy_base: Path, tmp_path: Path) -> None:
    from peft import get_peft_model

    torch.manual_seed(3)
    theirs = get_peft_model(toy_module(), peft_configs()[name]).eval()  # type: ignore[arg-type]
    theirs.save_pretrained(tmp_path)
    policy = attach_adapter(tmp_path, loaded(toy_base, EVERY["lora"]))
    expected = logits(theirs)[:, -TOKENS.shape[1] :]
    assert (ours(policy.model) - expected).abs().max() < 2e-5
    assert (expected - logits(toy_module())).abs().max() > 1e-3, "it does something"


def test_a_magnitude_and_a_start_have_the_gradients_that_peft_has(toy_base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    technique = EVERY["lora dora"]
    policy = moved(attached(toy_base, technique))
    theirs = get_peft_model(
        toy_module(), LoraConfig(r=4, lora_alpha=32, use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    named = dict(theirs.named_parameters())
    ends = {"lora_A": "lora_A.default.weight", "lora_B": "lora_B.default.weight"}
    pairs: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
    for name, parameter in policy.trainable.items():
        layer, _, last = name.rpartition(".")
        other = named[f"base_model.model.{layer}.{ends.get(last, 'lora_magnitude_vector.default.weight')}"]
        other.data.copy_(parameter.data)
        pairs.append((parameter, other))
    for module in (policy.model.module, theirs):
        module(input_ids=TOKENS, use_cache=False).logits.square().mean().backward()
    for parameter, other in pairs:
        assert parameter.grad is not None
        assert other.grad is not None
        assert (parameter.grad - other.grad).abs().max() < 1e-5 * max(1.0, float(other.grad.abs().max()))


@pytest.mark.parametrize("technique", [EVERY["lora pissa"]])
def test_the_main_directions_are_those_of_peft(technique: Technique, toy_base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    policy = attached(toy_base, technique)
    config = LoraConfig(
        r=4, lora_alpha=32, init_lora_weights="pissa", target_modules="all-linear", task_type="CAUSAL_LM"
    )
    named = dict(get_peft_model(toy_module(), config).named_parameters())
    for name, parameter in policy.trainable.items():
        if not name.endswith("lora_B"):
            continue
        layer = name.removesuffix(".lora_B")
        theirs = (
            named[f"base_model.model.{layer}.lora_B.default.weight"]
            @ (named[f"base_model.model.{layer}.lora_A.default.weight"])
        )
        mine = parameter @ policy.trainable[f"{layer}.lora_A"]
        assert (mine - theirs).abs().max() < 1e-4
