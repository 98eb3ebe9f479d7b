"""Parity: an export that answers alike holds, one that differs fails; llama.cpp itself is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from etude.batch import TokenRow
from etude.errors import EtudeError
from etude.exporting.gguf_file import write_gguf
from etude.exporting.llama_cpp import LlamaCpp
from etude.exporting.parity import MOST_SITES, Expected, against_engine, against_model
from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from tests.exporting.test_gguf_file import saved
from tests.techniques.every import rows
from tests.toy import toy_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("parity") / "model"
    saved(folder, "llama")
    return load(ModelOptions(name=str(folder), precision="float32"))


@pytest.fixture(scope="module")
def expected(model: LoadedModel) -> Expected:
    return Expected.of(model, [sample.rows[0] for sample in rows(1)])


def test_a_model_is_like_itself(model: LoadedModel, expected: Expected) -> None:
    parity = against_model(expected, model, form="same", held="float32", same_tokens=True)
    assert parity.holds
    assert (parity.mean_divergence, parity.most_difference, parity.same_first) == (0.0, 0.0, 1.0)


def test_other_weights_and_other_tokens_fail(model: LoadedModel, expected: Expected, tmp_path: Path) -> None:
    module = saved(tmp_path / "other", "llama")
    module.get_output_embeddings().weight.data.mul_(3.0)
    module.save_pretrained(tmp_path / "other")
    other = load(ModelOptions(name=str(tmp_path / "other"), precision="float32"))
    parity = against_model(expected, other, form="other", held="q8_0", same_tokens=True)
    assert not parity.holds
    assert "FAILS" in parity.sentence()
    assert not against_model(expected, model, form="tokens", held="float32", same_tokens=False).holds


def test_rows_are_cut_at_the_most_sites(model: LoadedModel) -> None:
    row = TokenRow((1, *range(3, 103)), (0.0, *[1.0] * 100))
    found = Expected.of(model, [row] * 5)
    assert found.log_SV.shape[0] == len(found.target_S) == MOST_SITES
    assert [sum(map(bool, one.weights)) for one in found.rows] == [100, 92]
    with pytest.raises(EtudeError, match="no row to compare"):
        Expected.of(model, [TokenRow((1, 2), (0.0, 0.0))])


@pytest.mark.parametrize(
    "numbers", ["q8_0", *(pytest.param(name, marks=pytest.mark.slow) for name in ("f32", "f16", "q4_0"))]
)
def test_llama_cpp_says_the_same(numbers: str, model: LoadedModel, expected: Expected, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    path = tmp_path / f"{numbers}.gguf"
    write_gguf(model.folder, path, numbers, name="toy")  # type: ignore[arg-type]
    text = toy_tokenizer().apply_chat_template([{"role": "user", "content": "my card 1234"}], tokenize=False)
    texts = [(text, tuple(toy_tokenizer()(text)["input_ids"]))]
    engine = LlamaCpp(path, longest=max(len(row.tokens) for row in expected.rows) + 8)
    parity = against_engine(expected, engine, texts, form="toy", held=numbers)
    assert parity.same_tokens
    assert parity.holds, parity.sentence()
    if numbers == "f32":
        assert parity.most_difference < 1e-3
        assert parity.same_first == 1.0


def test_slowed_rotations_are_llama_cpps_too(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    slowed = {
        "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }  # fmt: skip
    module = saved(tmp_path / "model", "llama", rope_parameters=slowed)
    for layer in module.model.layers:  # as the toy begins, it attends everywhere alike
        layer.self_attn.q_proj.weight.data.mul_(40.0)
    module.save_pretrained(tmp_path / "model")
    model = load(ModelOptions(name=str(tmp_path / "model"), precision="float32"))
    row = TokenRow((1, *range(3, 103)), (0.0, *[1.0] * 100))
    expected = Expected.of(model, [row])
    write_gguf(model.folder, tmp_path / "model.gguf", "f32", name="toy")
    engine = LlamaCpp(tmp_path / "model.gguf", longest=128)
    assert against_engine(expected, engine, [], form="toy", held="f32").most_difference < 1e-3
    plain = load(ModelOptions(name=str(tmp_path / "model"), precision="float32"))
    plain.module.model.rotary_emb.inv_freq = 100.0 ** (-torch.arange(0, 16, 2) / 16)
    assert not against_model(expected, plain, form="plain", held="float32", same_tokens=True).holds


def test_a_file_that_llama_cpp_cannot_read_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EtudeError, match=r"broken\.gguf: llama\.cpp cannot load it"):
        LlamaCpp(tmp_path / "broken.gguf", longest=64)


def test_log_distributions_are_the_models_own(model: LoadedModel, expected: Expected) -> None:
    row = expected.rows[0]
    with torch.no_grad():
        logits = model.module(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0].log_softmax(-1)
    at = [i - 1 for i, weight in enumerate(row.weights) if weight]
    assert (logits[at] - expected.log_SV[: len(at)]).abs().max() < 1e-4
