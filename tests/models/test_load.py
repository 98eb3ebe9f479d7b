"""Loading: a frozen, proven model, or one clear error; nothing random is ever put in place of a missing weight."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from etude.errors import EtudeError, ModelError, Problems
from etude.models import load as loading
from etude.models.load import load, load_tokenizer, precision_name, reload_weights
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from etude.models.source import folder_hash
from tests.toy import toy_module, toy_tokenizer

TOKENS = torch.tensor([[1, 40, 41, 42, 43]])
QUERY = "model.layers.0.self_attn.q_proj.weight"


def in_float32(folder: Path) -> LoadedModel:
    return load(ModelOptions(name=str(folder), precision="float32"))


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=TOKENS, use_cache=False).logits


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **keys: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize("tied", [True, False])
def test_a_loaded_model_is_the_saved_one_frozen_and_proven(tmp_path: Path, tied: bool) -> None:
    toy_module(tied=tied).save_pretrained(tmp_path)
    toy_tokenizer().save_pretrained(tmp_path)
    model = in_float32(tmp_path)
    assert torch.equal(logits(model.module), logits(toy_module(tied=tied)))
    assert model.packs
    assert model.folder == tmp_path
    assert model.base_hash == folder_hash(tmp_path)
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    with model.use() as same:
        assert same is model


def test_a_model_in_several_files_is_the_same(tmp_path: Path) -> None:
    toy_module().save_pretrained(tmp_path, max_shard_size="20KB")
    toy_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(logits(in_float32(tmp_path).module), logits(toy_module()))


def test_how_the_base_generates_is_read_too(base: Path) -> None:
    (base / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
    assert in_float32(base).module.generation_config.max_new_tokens == 7


def test_precision_is_what_was_asked_for(base: Path) -> None:
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        module = load(ModelOptions(name=str(base), precision=name)).module  # type: ignore[arg-type]
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({}, "float32"),
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_computed(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision_name("auto") == expected
    assert precision_name("float32") == "float32"
    assert precision_name("bfloat16") == "bfloat16"


def test_a_missing_weight_is_an_error_not_a_random_number(base: Path) -> None:
    edit_weights(base, lambda tensors: tensors.pop(QUERY))
    with pytest.raises(ModelError, match=rf"1 weights are missing from its files: {QUERY}"):
        load(str(base))


def test_weights_that_nobody_asked_for_do_no_harm(base: Path) -> None:
    edit_weights(base, lambda tensors: tensors.update({"rotary.inv_freq": torch.ones(3)}))
    assert torch.equal(logits(in_float32(base).module), logits(toy_module()))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.9])
def test_a_cut_weights_file_is_a_clear_error(base: Path, share: float) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match="not a loadable causal language model") as caught:
        load(str(base))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"hidden_size": "x"},
        {"hidden_size": 40},
        {"vocab_size": 10},
        {"num_hidden_layers": 3},
        {"model_type": "t5"},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_clear_error(base: Path, keys: dict[str, object]) -> None:
    edit_config(base, **keys)
    with pytest.raises(ModelError) as caught:
        load(str(base))
    assert str(base) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(base: Path) -> None:
    edit_weights(base, lambda tensors: tensors[QUERY].fill_(float("nan")))
    with pytest.raises(ModelError, match="cannot be reproduced"):
        load(str(base))


@pytest.mark.parametrize("content", [None, '{"a": 1}', "[]"])
def test_an_unusable_tokenizer_is_a_clear_error(base: Path, content: str | None) -> None:
    (base / "tokenizer.json").unlink()
    if content is not None:
        (base / "tokenizer.json").write_text(content)
    with pytest.raises(EtudeError, match="no usable tokenizer"):
        load_tokenizer(str(base))


def test_reload_brings_the_weights_back_in_place(base: Path) -> None:
    model = in_float32(base)
    before = {name: parameter.data_ptr() for name, parameter in model.module.named_parameters()}
    for parameter in model.module.parameters():
        parameter.data.add_(1.0)
    reload_weights(model, base)
    assert torch.equal(logits(model.module), logits(toy_module()))
    assert {name: parameter.data_ptr() for name, parameter in model.module.named_parameters()} == before


@pytest.mark.parametrize("shape", [{"hidden": 32}, {"layers": 1}, {"layers": 3}])
def test_weights_of_another_shape_leave_the_model_as_it_was(base: Path, tmp_path: Path, shape: dict[str, int]) -> None:
    model = in_float32(base)
    toy_module(seed=5, **shape).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="do not fit"):
        reload_weights(model, tmp_path / "other")
    assert torch.equal(logits(model.module), logits(toy_module()))


def test_reload_refuses_what_load_refuses(base: Path, tmp_path: Path) -> None:
    model = in_float32(base)
    with pytest.raises(ModelError, match="no such folder"):
        reload_weights(model, tmp_path / "gone")
    edit_config(base, auto_map={"AutoModel": "attack.Model"})
    with pytest.raises(Problems, match="auto_map"):
        reload_weights(model, base)


def test_every_precision_has_a_type() -> None:
    assert set(loading.DTYPES) == {"float32", "bfloat16"}
