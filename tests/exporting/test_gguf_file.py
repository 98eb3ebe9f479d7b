"""GGUF files: transformers reads back what was written; numbers are as good as their type; strangers are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as T

from etude.errors import ModelError
from etude.exporting.gguf_file import write_gguf
from tests.toy import toy_tokenizer

SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": T.LlamaConfig,
    "mistral": T.MistralConfig,
    "qwen2": T.Qwen2Config,
    "qwen3": T.Qwen3Config,
}
ERROR = {"f32": 1e-6, "f16": 2e-3, "bf16": 1e-2, "q8_0": 2e-2, "q4_1": 0.3, "q4_0": 0.35}
TOKENS = torch.tensor([[1, 40, 41, 42, 43, 44]])


def saved(
    folder: Path, family: str, *, tied: bool = False, rope_parameters: dict[str, object] | None = None
) -> T.PreTrainedModel:
    torch.manual_seed(0)
    turned = {} if rope_parameters is None else {"rope_parameters": rope_parameters}
    config = FAMILIES[family](vocab_size=len(toy_tokenizer()) + 8, tie_word_embeddings=tied, **SIZES, **turned)
    module = T.AutoModelForCausalLM.from_config(config).float().eval()
    module.save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return module


def read_back(path: Path) -> T.PreTrainedModel:
    quantized = T.GgufConfig(dequantize=True)
    module: T.PreTrainedModel = T.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=quantized
    ).eval()
    return module


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_same_model(family: str, tied: bool, tmp_path: Path) -> None:
    module = saved(tmp_path / "model", family, tied=tied)
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", "f32", name="toy")
    with torch.no_grad():
        expected = module(input_ids=TOKENS).logits
        found = read_back(tmp_path / "model.gguf")(input_ids=TOKENS).logits
    assert (found - expected).abs().max() < 1e-5
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("numbers", ERROR)
def test_numbers_are_as_good_as_their_type(numbers: str, tmp_path: Path) -> None:
    module = saved(tmp_path / "model", "llama")
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", numbers, name="toy")  # type: ignore[arg-type]
    theirs = read_back(tmp_path / "model.gguf").state_dict()
    for name, weight in module.state_dict().items():
        assert (theirs[name] - weight).norm() / weight.norm() <= ERROR[numbers], name


def test_the_file_knows_its_tokenizer_and_template(tmp_path: Path) -> None:
    from gguf import GGUFReader

    saved(tmp_path / "model", "llama")
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", "q8_0", name="toy")
    fields = GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == toy_tokenizer().chat_template
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert fields["tokenizer.ggml.tokens"].contents()[1] == "<|im_start|>"
    assert fields["general.name"].contents() == "toy"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "gpt2"}, "'gpt2' models are not written here; known are llama"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}, "rotated by 'yarn'"),
    ],
)
def test_what_is_not_known_is_refused(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    saved(tmp_path / "model", "llama")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=says):
        write_gguf(tmp_path / "model", tmp_path / "model.gguf", "f32", name="toy")
    assert not (tmp_path / "model.gguf").exists()
