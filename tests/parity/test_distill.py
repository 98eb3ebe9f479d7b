"""Distillation against the library's generalised divergence, and against transformers' own logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from etude.batch import Sample
from etude.errors import ModelError
from etude.models.loaded import LoadedModel
from etude.models.vocabulary import token_texts
from etude.objectives.distill import Distill
from etude.packing import pack
from etude.techniques.full import Full
from etude.techniques.policy import attach
from etude.training.scores import scores_of
from tests.parity.test_preferences import moved, row, triples
from tests.toy import toy_loaded, toy_module, toy_tokenizer


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_and_its_gradient_equal_trl_s(mix: float, temperature: float) -> None:
    from trl.experimental.gkd import GKDTrainer

    teacher = toy_loaded()
    moved(teacher.module)
    objective = Distill(teacher="-", mix=mix, temperature=temperature)
    policy = attach(Full(), toy_loaded(), teacher=teacher)
    rows = [row(asked, answer) for asked, answer, _ in triples()]
    batch = pack([Sample(str(at), (one,)) for at, one in enumerate(rows)])
    ours = objective.loss(batch, scores_of(policy, batch, objective)).total / objective.count(batch)
    ours.backward()

    student = toy_module()
    parts = []
    for one in rows:
        ids = torch.tensor([one.tokens])
        learned = torch.tensor(one.weights[1:]) > 0
        with torch.no_grad():
            taught = teacher.module(ids, use_cache=False).logits[:, :-1][:, learned]
        parts.append((student(ids, use_cache=False).logits[:, :-1][:, learned], taught))
    mine, its = (torch.cat([part[at] for part in parts], dim=1) for at in (0, 1))
    labels = torch.zeros(mine.shape[:2], dtype=torch.long)
    theirs = GKDTrainer.generalized_jsd_loss(mine, its, labels=labels, beta=mix, temperature=temperature)
    theirs.backward()
    assert abs(ours.item() - theirs.item()) < 1e-5
    for name, weight in student.named_parameters():
        assert weight.grad is not None
        gradient = policy.trainable[name].grad
        assert gradient is not None
        assert (gradient - weight.grad).abs().max() < 1e-5, name


def test_top_k_is_the_renormalised_head_of_the_teacher() -> None:
    from etude.models.distilling import divergence

    student, teacher = torch.randn(4, 50), torch.randn(4, 50)
    found = divergence(student, teacher, Distill(teacher="-", top_k=5))
    best = teacher.topk(5).indices
    p, q = teacher.gather(1, best).softmax(-1), student.gather(1, best).softmax(-1)
    assert torch.allclose(found, (p * (p / q).log()).sum(-1), atol=1e-6)
    whole = divergence(student, teacher, Distill(teacher="-", top_k=50))
    assert torch.allclose(whole, divergence(student, teacher, Distill(teacher="-")), atol=1e-6)


def test_the_same_model_is_no_distance_away() -> None:
    policy = attach(Full(), toy_loaded(), teacher=toy_loaded())
    batch = pack([Sample("a", (row((1, 5, 6), (7, 8)),))])
    for mix in (0.0, 0.5, 1.0):
        objective = Distill(teacher="-", mix=mix)
        assert abs(objective.loss(batch, scores_of(policy, batch, objective)).total.item()) < 1e-5


def other_teacher() -> LoadedModel:
    """A model with a smaller vocabulary, whose ids mean other texts."""
    tokenizer = toy_tokenizer(300)
    teacher = replace(toy_loaded(seed=3), tokenizer=tokenizer, name="other")
    teacher.module.resize_token_embeddings(len(tokenizer))
    moved(teacher.module)
    return teacher


@pytest.mark.parametrize("mix", [0.0, 0.4])
def test_a_teacher_with_another_tokenizer_speaks_of_the_tokens_that_both_have(mix: float) -> None:
    """By hand: each prefix is spelt out in the teacher's tokens, both models are asked as plain models, and the
    distributions are compared over the tokens that are spelt alike."""
    student, teacher = toy_loaded(), other_teacher()
    mine, its = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    both = sorted(mine.keys() & its.keys())
    assert len(both) < len(its) < len(mine) or set(both) == set(its)
    names = {token: name for name, token in mine.items()}
    spelt = {}
    for token, name in names.items():
        text = student.tokenizer.convert_tokens_to_string([name])
        spelt[token] = [its[name]] if name in its else teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
    long = next(token for token, ids in spelt.items() if len(ids) > 1)
    prompt = (1, *range(90, 102), long)  # shared by both rows, so that the tree branches behind it
    rows = [row(prompt, (long, 30, 31, 2)), row(prompt, (40, long, long, 2))]
    objective = Distill(teacher="-", mix=mix)
    policy = attach(Full(), student, teacher=teacher)
    batch = pack([Sample(str(at), (one,)) for at, one in enumerate(rows)])
    assert len(batch.segments) == 3
    found = scores_of(policy, batch, objective).need("teacher")

    expected = []
    for one in rows:
        for at in range(len(prompt), len(one.tokens)):
            before = list(one.tokens[:at])
            asked = [piece for token in before for piece in spelt[token]]
            p, q = (
                model.module(torch.tensor([ids]), use_cache=False).logits[0, -1, [vocabulary[name] for name in both]]
                for model, ids, vocabulary in ((teacher, asked, its), (student, before, mine))
            )
            expected.append(apart(p.log_softmax(-1), q.log_softmax(-1), mix))
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    found.sum().backward()
    assert all(weight.grad is not None for weight in policy.trainable.values())
    assert all(weight.grad is None for weight in teacher.module.parameters())


def apart(p: torch.Tensor, q: torch.Tensor, mix: float) -> torch.Tensor:
    """The generalised Jensen-Shannon divergence of two small distributions, as it is defined."""
    if mix == 0:
        return (p.exp() * (p - q)).sum()
    between = (mix * p.exp() + (1 - mix) * q.exp()).log()
    return mix * (p.exp() * (p - between)).sum() + (1 - mix) * (q.exp() * (q - between)).sum()


def test_vocabularies_with_too_little_in_common_are_refused() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {name: at for at, name in enumerate(["[UNK]", "[END]", "zebra", "quagga", "the"])}
    strange = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="[UNK]")), unk_token="[UNK]", eos_token="[END]"
    )
    other = replace(toy_loaded(), tokenizer=strange, name="zoo")
    with pytest.raises(ModelError, match=r"zoo: has 1% of the tokens of toy, too few to distil on .*synthesize"):
        attach(Full(), toy_loaded(), teacher=other)


def test_texts_of_tokens_are_what_they_write() -> None:
    tokenizer = toy_tokenizer()
    for token, text in token_texts(tokenizer).items():
        written = tokenizer.decode([token])
        assert (text if isinstance(text, str) else text.decode("utf-8", "replace")) == written, token
