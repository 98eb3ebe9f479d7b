"""Distillation against the library's generalised divergence, and against transformers' own logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from etude.batch import Sample
from etude.errors import ModelError
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


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    other = replace(toy_loaded(), tokenizer=toy_tokenizer(300))
    with pytest.raises(ModelError, match="another vocabulary"):
        attach(Full(), toy_loaded(), teacher=other)
