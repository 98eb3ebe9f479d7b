"""Losses and gradients of preference objectives against TRL's on the same batch, in float32."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from etude.batch import Sample, TokenRow
from etude.objectives.base import Objective
from etude.objectives.cpo import CPO
from etude.objectives.dpo import DPO
from etude.objectives.kto import KTO
from etude.objectives.orpo import ORPO
from etude.objectives.reward import Reward
from etude.objectives.simpo import SimPO
from etude.packing import pack
from etude.techniques.full import Full
from etude.techniques.policy import Policy, attach
from etude.training.scores import scores_of
from tests.toy import toy_loaded, toy_module, toy_tokenizer

NUM = 6
COMMON: dict[str, Any] = {
    "per_device_train_batch_size": NUM, "use_cpu": True, "report_to": "none", "bf16": False, "max_length": None,
    "gradient_checkpointing": False,
}  # fmt: skip


def drawn(*lengths: int, seed: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randint(3, 300, (length,), generator=generator).tolist()) for length in lengths]


def triples(*, prompt: int = 7, equal: bool = False) -> list[tuple[tuple[int, ...], ...]]:
    """Prompts with two answers of different lengths, the end token last."""
    found = []
    for i in range(NUM):
        asked, chosen, rejected = drawn(prompt and prompt + i % 3, 3 + i % 4, 3 + i % 4 if equal else 2 + i % 5, seed=i)
        found.append((asked, (*chosen, 2), (*rejected, 2)))
    return found


def row(asked: tuple[int, ...], answer: tuple[int, ...], value: float = 0.0) -> TokenRow:
    return TokenRow(asked + answer, (0.0,) * len(asked) + (1.0,) * len(answer), value)


def pair_samples(found: list[tuple[tuple[int, ...], ...]]) -> list[Sample]:
    return [Sample(str(i), (row(asked, yes), row(asked, no))) for i, (asked, yes, no) in enumerate(found)]


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The model a little away from where it was, so that it differs from its reference."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return module


class Moved:
    """A policy whose base is the toy model and whose weights are the moved ones."""

    def __init__(self, folder: Path, objective: Objective) -> None:
        toy_module().save_pretrained(folder / "base")
        loaded = toy_loaded()
        object.__setattr__(loaded, "folder", folder / "base")
        self.policy: Policy = attach(Full(), loaded, value_head=objective.needs_values)
        moved(loaded.module)

    def loss(self, objective: Objective, samples: list[Sample]) -> tuple[float, dict[str, torch.Tensor], Any]:
        batch = pack([objective.shown(sample) for sample in samples])
        found = objective.loss(batch, scores_of(self.policy, batch, objective))
        count = objective.count(batch)
        (found.total / count).backward()
        figures = {name: float(value) / count for name, value in found.sums.items()}
        grads = {n: p.grad.clone() for n, p in self.policy.model.module.named_parameters() if p.grad is not None}
        return found.total.item() / count, grads, figures


def agree(ours: tuple[float, dict[str, torch.Tensor], Any], loss: torch.Tensor, module: torch.nn.Module) -> None:
    assert abs(ours[0] - loss.item()) < 1e-5 * max(1.0, abs(loss.item()))
    theirs = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    assert theirs
    for name, gradient in theirs.items():
        allowed = 1e-5 * max(1.0, float(gradient.abs().max()))
        assert (ours[1][name] - gradient).abs().max() < allowed, name


def trl_dpo(folder: Path, rows: list[tuple[tuple[int, ...], ...]], **settings: Any) -> tuple[Any, Any, Any]:
    from trl import DPOConfig, DPOTrainer

    dataset = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * NUM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            model=moved(toy_module()), ref_model=toy_module(), train_dataset=dataset, processing_class=toy_tokenizer(),
            args=DPOConfig(output_dir=str(folder), **COMMON, **settings),
        )  # fmt: skip
    inputs = trainer.data_collator(
        [{"prompt_ids": list(a), "chosen_ids": list(y), "rejected_ids": list(n)} for a, y, n in rows]
    )
    trainer.model.eval()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss, trainer.model, trainer


DPO_CASES = [
    (DPO(), {}),
    *[
        (DPO(loss_type=name, beta=0.3), {"loss_type": [name], "beta": 0.3})
        for name in ("hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
                     "apo_down", "discopop", "sigmoid_norm")
    ],
    *[
        (DPO(loss_type=name, label_smoothing=0.1), {"loss_type": [name], "label_smoothing": 0.1})
        for name in ("robust", "exo_pair", "aot", "aot_unpaired")
    ],
    *[
        (DPO(divergence=name, beta=0.5), {"f_divergence_type": name, "beta": 0.5})
        for name in ("forward_kl", "js_divergence", "alpha_divergence")
    ],
    (DPO(tail_share=0.4), {"ld_alpha": 0.4}),
    (DPO(weighting=True), {"use_weighting": True}),
    (DPO(weighting=True, loss_type="ipo"), {"use_weighting": True, "loss_type": ["ipo"]}),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "settings"), DPO_CASES, ids=[str(s) for _, s in DPO_CASES])
def test_dpo_equals_trl(objective: DPO, settings: dict[str, Any], tmp_path: Path) -> None:
    rows = triples()
    loss, module, trainer = trl_dpo(tmp_path / "trl", rows, **settings)
    ours = Moved(tmp_path, objective).loss(objective, pair_samples(rows))
    agree(ours, loss, module)
    metrics = trainer._metrics["eval" if not module.training else "train"]
    assert abs(ours[2]["accuracy"] - metrics["rewards/accuracies"][-1]) < 1e-6
    assert abs(ours[2]["margin"] - metrics["rewards/margins"][-1]) < 1e-4
    assert abs(objective.beta * ours[2]["chosen"] - metrics["rewards/chosen"][-1]) < 1e-4


def test_dpo_with_the_chosen_answer_s_own_loss_equals_trl(tmp_path: Path) -> None:
    rows = [(asked, (*yes[:3], 2), no) for asked, yes, no in triples()]  # the library takes the mean over all tokens
    settings = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
    loss, module, _ = trl_dpo(tmp_path / "trl", rows, **settings)
    objective = DPO(nll=0.5)
    agree(Moved(tmp_path, objective).loss(objective, pair_samples(rows)), loss, module)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        (SimPO(), {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.5}),
        (SimPO(label_smoothing=0.1), {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "label_smoothing": 0.1}),
        (CPO(nll=0.0), {"loss_type": "sigmoid", "cpo_alpha": 0.0}),
        (CPO(nll=0.0, label_smoothing=0.2), {"loss_type": "sigmoid", "cpo_alpha": 0.0, "label_smoothing": 0.2}),
        (CPO(nll=0.0, loss_type="hinge"), {"loss_type": "hinge", "cpo_alpha": 0.0}),
    ],
)
def test_simpo_and_cpo_equal_trl(objective: Objective, settings: dict[str, Any], tmp_path: Path) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    rows = triples()
    loss, module = without_reference(CPOTrainer, CPOConfig, tmp_path / "trl", rows, **settings)
    agree(Moved(tmp_path, objective).loss(objective, pair_samples(rows)), loss, module)


def test_orpo_equals_trl(tmp_path: Path) -> None:
    """The library learns the prompt as well: here it is the one token that nothing predicts."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    rows = [((1,), (*yes[:3], 2), no) for _, yes, no in triples()]
    loss, module = without_reference(ORPOTrainer, ORPOConfig, tmp_path / "trl", rows, beta=0.2)
    objective = ORPO(beta=0.2)
    agree(Moved(tmp_path, objective).loss(objective, pair_samples(rows)), loss, module)


def test_cpo_with_imitation_equals_trl(tmp_path: Path) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    rows = [((1,), (*yes[:3], 2), no) for _, yes, no in triples()]
    settings = {"loss_type": "sigmoid", "cpo_alpha": 0.7}
    loss, module = without_reference(CPOTrainer, CPOConfig, tmp_path / "trl", rows, **settings)
    objective = CPO(nll=0.7)
    agree(Moved(tmp_path, objective).loss(objective, pair_samples(rows)), loss, module)


def without_reference(trainer_class: Any, config: Any, folder: Path, rows: Any, **settings: Any) -> tuple[Any, Any]:
    dataset = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * NUM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = trainer_class(
            model=moved(toy_module()), train_dataset=dataset, processing_class=toy_tokenizer(),
            args=config(output_dir=str(folder), **{k: v for k, v in COMMON.items() if k != "max_length"}, **settings),
        )  # fmt: skip
    inputs = concatenable(rows)
    trainer.model.eval()
    trainer.model.zero_grad()
    loss, _ = trainer.get_batch_loss_metrics(trainer.model, inputs, train_eval="train")
    loss.backward()
    return loss, trainer.model


def concatenable(rows: Any) -> dict[str, Any]:
    """Padded chosen and rejected sequences with labels, as those trainers' collators make them."""
    found: dict[str, Any] = {}
    for name, place in (("chosen", 1), ("rejected", 2)):
        longest = max(len(one[0]) + len(one[place]) for one in rows)
        ids, mask, labels = (
            torch.zeros(NUM, longest, dtype=torch.long),
            torch.zeros(NUM, longest, dtype=torch.long),
            (torch.full((NUM, longest), -100)),
        )
        for i, one in enumerate(rows):
            whole = torch.tensor(one[0] + one[place])
            ids[i, : len(whole)], mask[i, : len(whole)] = whole, 1
            labels[i, len(one[0]) : len(whole)] = whole[len(one[0]) :]
        found |= {f"{name}_input_ids": ids, f"{name}_attention_mask": mask, f"{name}_labels": labels}
    longest = max(len(one[0]) for one in rows)
    found["prompt_input_ids"] = torch.zeros(NUM, longest, dtype=torch.long)
    found["prompt_attention_mask"] = torch.ones(NUM, longest, dtype=torch.long)
    return found


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        (KTO(), {}),
        (KTO(beta=0.4, good=1.3, bad=0.8), {"beta": 0.4, "desirable_weight": 1.3, "undesirable_weight": 0.8}),
        (KTO(loss_type="apo"), {"loss_type": "apo_zero_unpaired"}),
    ],
)
def test_kto_equals_trl(objective: KTO, settings: dict[str, Any], tmp_path: Path) -> None:
    from trl import KTOConfig, KTOTrainer

    rows = triples()
    answers = [one[1] for one in rows]
    labels = [i % 3 != 0 for i in range(NUM)]
    dataset = Dataset.from_list([{"prompt": "a", "completion": "b", "label": True}] * NUM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = KTOTrainer(
            model=moved(toy_module()), ref_model=toy_module(), train_dataset=dataset, processing_class=toy_tokenizer(),
            args=KTOConfig(output_dir=str(tmp_path / "trl"), **COMMON, **settings),
        )  # fmt: skip
    features = [
        {"prompt_ids": list(rows[i][0]), "completion_ids": list(answers[i]), "label": labels[i],
         "KL_completion_ids": list(answers[(i + 1) % NUM])}
        for i in range(NUM)
    ]  # fmt: skip
    trainer.model.eval()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(features))
    loss.backward()
    samples = [
        Sample(
            str(i), (row(rows[i][0], answers[i], 1.0 if labels[i] else -1.0), row(rows[i][0], answers[(i + 1) % NUM]))
        )
        for i in range(NUM)
    ]
    agree(Moved(tmp_path, objective).loss(objective, samples), loss, trainer.model)


@pytest.mark.parametrize("with_margin", [False, True])
def test_a_reward_model_equals_trl_s(with_margin: bool, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    objective, rows = Reward(centring=0.05), triples()
    margins = [0.3 * i if with_margin else 0.0 for i in range(NUM)]
    ours = Moved(tmp_path, objective)
    base = moved(toy_module())
    config = base.config
    config.num_labels, config.pad_token_id = 1, 0
    theirs = LlamaForSequenceClassification(config).float().eval()
    theirs.model.load_state_dict(base.model.state_dict())
    assert ours.policy.value_head is not None
    with torch.no_grad():
        theirs.score.weight.copy_(ours.policy.value_head.weight[None])
    dataset = Dataset.from_list([{"chosen": "b", "rejected": "c"}] * NUM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = RewardTrainer(
            model=theirs, train_dataset=dataset, processing_class=toy_tokenizer(),
            args=RewardConfig(output_dir=str(tmp_path / "trl"), center_rewards_coefficient=0.05, **COMMON),
        )  # fmt: skip
    features = [
        {"chosen_ids": list(a + y), "rejected_ids": list(a + n), **({"margin": m} if with_margin else {})}
        for (a, y, n), m in zip(rows, margins, strict=True)
    ]
    theirs.zero_grad()
    loss = trainer.compute_loss(theirs, trainer.data_collator(features))
    loss.backward()
    samples = [
        Sample(str(i), (row(a, y, margins[i]), row(a, n))) for i, (a, y, n) in enumerate(rows)
    ]  # fmt: skip
    found = ours.loss(objective, samples)
    assert abs(found[0] - loss.item()) < 1e-5
    for name, gradient in ((n, p.grad) for n, p in theirs.model.named_parameters()):
        assert gradient is not None
        assert (found[1][f"model.{name}"] - gradient).abs().max() < 1e-5, name
    assert ours.policy.value_head.weight.grad is not None
    assert (ours.policy.value_head.weight.grad - theirs.score.weight.grad[0]).abs().max() < 1e-5
