"""LoRA: PEFT reads what it writes, the base stays as it was, seeds reach the fresh weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from etude.errors import ConfigError, ModelError
from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from etude.techniques.lora import LoRA
from etude.techniques.policy import Policy, attach, attach_adapter
from tests.toy import toy_loaded, toy_module, toy_tokenizer

TOKENS = torch.tensor([[1, 40, 41, 42, 43, 44]])


def logits(model: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=TOKENS, use_cache=False).logits


def trained(technique: LoRA, seed: int = 0) -> Policy:
    """A policy whose second matrices are not zero any more."""
    policy = attach(technique, toy_loaded(), seed=seed)
    generator = torch.Generator().manual_seed(9)
    for name, parameter in policy.trainable.items():
        if name.endswith("lora_B"):
            parameter.data.normal_(std=0.1, generator=generator)
    return policy


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    toy_module().save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "technique",
    [
        LoRA(rank=4, alpha=8),
        LoRA(rank=8, rslora=True, targets=("q_proj", "v_proj")),
        LoRA(rank=2, targets=("mlp.up_proj",)),
    ],
)
def test_peft_loads_the_adapter_and_gives_the_same_logits(technique: LoRA, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = trained(technique)
    policy.save(tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(toy_module(), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = theirs(input_ids=TOKENS, use_cache=False).logits
    ours = logits(policy.model)
    assert (ours - expected).abs().max() < 1e-5
    assert (ours - logits(toy_loaded())).abs().max() > 1e-2, "the adapter does something"


def test_an_adapter_made_by_peft_is_read(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    theirs = get_peft_model(toy_module(), config).eval()
    theirs.save_pretrained(tmp_path)
    policy = attach_adapter(tmp_path, toy_loaded())
    with torch.no_grad():
        expected = theirs(input_ids=TOKENS, use_cache=False).logits
    assert (logits(policy.model) - expected).abs().max() < 1e-5


def test_before_training_the_policy_is_its_base() -> None:
    policy = attach(LoRA(rank=4), toy_loaded())
    assert torch.equal(logits(policy.model), logits(toy_loaded()))


def test_base_answers_as_before_and_the_adapter_comes_back() -> None:
    policy = trained(LoRA(rank=4))
    tuned = logits(policy.model)
    with policy.base.use() as base:
        assert torch.equal(logits(base), logits(toy_loaded()))
    assert torch.equal(logits(policy.model), tuned)


def test_merging_gives_the_same_answers_and_plain_layers() -> None:
    policy = trained(LoRA(rank=4))
    tuned = logits(policy.model)
    merged = policy.merge()
    assert (logits(merged) - tuned).abs().max() < 1e-5
    assert not any("lora" in name for name, _ in merged.module.named_parameters())


def test_the_seed_reaches_the_fresh_weights_of_each_layer_alone() -> None:
    def first(policy: Policy, part: str) -> torch.Tensor:
        return next(p for n, p in policy.trainable.items() if part in n and n.endswith("lora_A")).detach()

    a, again, other = (attach(LoRA(rank=4), toy_loaded(), seed=seed) for seed in (1, 1, 2))
    fewer = attach(LoRA(rank=4, targets=("v_proj",)), toy_loaded(), seed=1)
    assert torch.equal(first(a, "v_proj"), first(again, "v_proj"))
    assert not torch.equal(first(a, "v_proj"), first(other, "v_proj"))
    assert torch.equal(first(a, "v_proj"), first(fewer, "v_proj")), "whatever other layers draw"


def test_scaling_is_by_rank_or_its_root() -> None:
    assert LoRA(rank=16, alpha=32).scale_of("q_proj") == 2
    assert LoRA(rank=16, alpha=32, rslora=True).scale_of("q_proj") == 8


def test_unknown_target_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no linear layer 'q_porj'; did you mean 'q_proj'\?"):
        attach(LoRA(targets=("q_porj",)), toy_loaded())


def test_a_second_adapter_is_refused() -> None:
    policy = attach(LoRA(), toy_loaded())
    with pytest.raises(ModelError, match="attached already"):
        attach(LoRA(), policy.model)


def test_settings_out_of_range_are_all_named() -> None:
    found = LoRA(rank=0, alpha=-1, dropout=1.5, targets=()).problems()
    assert [name for name, _ in found] == ["rank", "alpha", "dropout", "targets"]


def test_adapter_for_another_base_is_refused(tmp_path: Path, toy_folder: Path) -> None:
    trained(LoRA(rank=4)).save(tmp_path / "adapter")
    with pytest.raises(ModelError, match="another base model"):
        attach_adapter(tmp_path / "adapter", load(ModelOptions(name=str(toy_folder), precision="float32")))


@pytest.mark.parametrize("damage", ["missing", "nan", "extra"])
def test_damaged_adapters_are_refused(tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    policy = trained(LoRA(rank=4))
    policy.save(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = next(iter(tensors))
    if damage == "missing":
        del tensors[name]
    elif damage == "nan":
        tensors[name][0, 0] = float("nan")
    else:
        tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(4, 4)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError):
        policy.load(tmp_path)


@pytest.mark.parametrize("setting", [{"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"lora_bias": True}])
def test_adapters_that_these_layers_do_not_compute_are_refused(setting: dict[str, object], tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **setting}
    with pytest.raises(ModelError, match="not supported"):
        LoRA.from_peft(config, tmp_path)


def test_dropout_acts_only_while_learning() -> None:
    policy = trained(LoRA(rank=4, dropout=0.5))
    calm = logits(policy.model)
    assert torch.equal(calm, logits(policy.model))
    with policy.technique.learning(policy.model):
        torch.manual_seed(0)
        assert not torch.equal(calm, logits(policy.model))
    assert torch.equal(calm, logits(policy.model))


def test_config_is_plain_json_that_names_the_base(tmp_path: Path) -> None:
    policy = attach(LoRA(rank=4, dropout=0.1), toy_loaded())
    policy.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 32.0, 0.1)
    with safe_open(tmp_path / "adapter_model.safetensors", framework="pt") as file:
        assert file.metadata()["etude_base_hash"] == "toy-0"


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    policy = attach(LoRA(rank=2), toy_loaded())
    files = []
    for number in range(8):
        policy.save(tmp_path / str(number))
        files.append((tmp_path / str(number) / "adapter_model.safetensors").read_bytes())
    assert set(files) == {files[0]}
