"""Full fine-tuning: every weight learns, the base comes back from its folder, what is saved is an ordinary model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from etude.errors import ModelError
from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from etude.techniques.full import Full
from etude.techniques.policy import Policy, attach
from tests.toy import toy_loaded, toy_module, toy_tokenizer

TOKENS = torch.tensor([[1, 40, 41, 42, 43, 44]])


def logits(model: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=TOKENS, use_cache=False).logits


def loaded(folder: Path) -> LoadedModel:
    return load(ModelOptions(name=str(folder), precision="float32"))


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    toy_module(tied=request.param).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def moved(policy: Policy) -> Policy:
    """The policy after something like an update of every weight that learns."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return policy


def test_every_weight_learns(base: Path) -> None:
    policy = attach(Full(), loaded(base))
    assert policy.num_trainable == sum(parameter.numel() for parameter in policy.model.module.parameters())
    assert all(parameter.requires_grad for parameter in policy.model.module.parameters())


def test_embeddings_can_stay_as_they_are(base: Path) -> None:
    policy = attach(Full(embeddings=False), loaded(base))
    embedding = policy.model.module.get_input_embeddings().weight
    assert not embedding.requires_grad
    assert "model.embed_tokens.weight" not in policy.trainable
    head = policy.model.module.get_output_embeddings().weight
    assert head.requires_grad == (head is not embedding)


def test_the_seed_changes_nothing() -> None:
    one, other = (attach(Full(), toy_loaded(), seed=seed) for seed in (0, 1))
    assert torch.equal(logits(one.model), logits(other.model))


def test_a_saved_model_is_accepted_again_and_answers_the_same(base: Path, tmp_path: Path) -> None:
    policy = moved(attach(Full(), loaded(base)))
    policy.save(tmp_path / "run" / "model")
    again = loaded(tmp_path / "run" / "model")
    assert torch.equal(logits(again), logits(policy.model))
    assert not torch.equal(logits(again), logits(loaded(base)))
    assert again.tokenizer.chat_template == policy.model.tokenizer.chat_template
    assert again.base_hash != policy.model.base_hash


def test_a_saved_model_can_be_read_back_into_the_policy(base: Path, tmp_path: Path) -> None:
    policy = moved(attach(Full(), loaded(base)))
    policy.save(tmp_path / "model")
    learned = logits(policy.model)
    other = attach(Full(), loaded(base))
    other.load(tmp_path / "model")
    assert torch.equal(logits(other.model), learned)


def test_before_training_it_answers_as_its_base_and_then_as_itself(base: Path) -> None:
    policy = moved(attach(Full(), loaded(base)))
    learned = logits(policy.model)
    with policy.base.use() as before:
        assert torch.equal(logits(before), logits(loaded(base)))
    assert torch.equal(logits(policy.model), learned)


def test_the_learned_weights_come_back_after_an_error(base: Path) -> None:
    policy = moved(attach(Full(), loaded(base)))
    learned = logits(policy.model)
    with pytest.raises(ZeroDivisionError), policy.base.use():
        _ = 1 / 0
    assert torch.equal(logits(policy.model), learned)


def test_a_base_folder_that_is_gone_is_a_clear_error_and_costs_nothing(base: Path, tmp_path: Path) -> None:
    model = replace(loaded(base), folder=tmp_path / "gone")
    policy = moved(attach(Full(), model))
    learned = logits(policy.model)
    with pytest.raises(ModelError, match="no such folder"), policy.base.use():
        pass
    assert torch.equal(logits(policy.model), learned)


def test_a_folder_that_cannot_be_written_is_a_clear_error(base: Path, tmp_path: Path) -> None:
    policy = attach(Full(), loaded(base))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder" / "model.safetensors").mkdir(parents=True)
    for folder in (tmp_path / "file" / "model", tmp_path / "folder"):
        with pytest.raises(ModelError, match="cannot be written"):
            policy.save(folder)


def test_merging_leaves_a_plain_frozen_model(base: Path) -> None:
    policy = moved(attach(Full(), loaded(base)))
    learned = logits(policy.model)
    merged = policy.merge()
    assert torch.equal(logits(merged), learned)
    assert not any(parameter.requires_grad for parameter in merged.module.parameters())
