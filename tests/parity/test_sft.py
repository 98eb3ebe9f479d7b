"""Our loss and gradients against TRL's and transformers' on the same batch, in float32."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.models.scoring import score
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.scores import scores_of
from tests.toy import toy_loaded, toy_module, toy_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPT = (1, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50)


def some_samples(n: int = 8) -> list[Sample]:
    """Rows with a shared prompt, different queries and answers of different lengths, the end token learned."""
    generator = torch.Generator().manual_seed(5)
    samples = []
    for i in range(n):
        query = tuple(torch.randint(3, 300, (3 + i % 4,), generator=generator).tolist())
        answer = (*torch.randint(3, 300, (2 + i % 5,), generator=generator).tolist(), 2)
        tokens = PROMPT + query + answer
        weights = (0.0,) * len(PROMPT + query) + (1.0,) * len(answer)
        samples.append(Sample(f"row:{i}", (TokenRow(tokens, weights),)))
    return samples


def our_loss_and_gradients(samples: list[Sample], **packing: Any) -> tuple[float, dict[str, torch.Tensor]]:
    policy = attach(Full(), toy_loaded())
    objective, batch = SFT(), pack(samples, **packing)
    loss = objective.loss(batch, scores_of(policy, batch, objective)).total / objective.count(batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in policy.trainable.items() if p.grad is not None}


def padded(samples: list[Sample]) -> dict[str, torch.Tensor]:
    longest = max(s.num_tokens for s in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, sample in enumerate(samples):
        row = sample.rows[0]
        ids[i, : len(row.tokens)] = torch.tensor(row.tokens)
        mask[i, : len(row.tokens)] = 1
        learned = torch.tensor(row.weights) > 0
        labels[i, : len(row.tokens)][learned] = torch.tensor(row.tokens)[learned]
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def agree(ours: dict[str, torch.Tensor], module: PreTrainedModel) -> None:
    theirs = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() < 1e-5, name


@pytest.mark.parametrize("share", [True, False])
def test_loss_and_gradients_equal_transformers(share: bool) -> None:
    samples = some_samples()
    loss, gradients = our_loss_and_gradients(samples, share=share)
    module = toy_module()
    reference = module(**padded(samples), use_cache=False).loss
    reference.backward()
    assert abs(loss - reference.item()) < 1e-5
    agree(gradients, module)


@pytest.mark.parametrize("padding_free", [False, True])
def test_loss_and_gradients_equal_trl(tmp_path: Path, padding_free: bool) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    samples = some_samples()
    rows = Dataset.from_list(
        [
            {"input_ids": list(s.rows[0].tokens), "completion_mask": [int(w > 0) for w in s.rows[0].weights]}
            for s in samples
        ]
    )
    settings = SFTConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True, report_to="none", bf16=False,
        max_length=None, completion_only_loss=True, gradient_checkpointing=False, eos_token="<|im_end|>",
    )  # fmt: skip
    module = toy_module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(model=module, args=settings, train_dataset=rows, processing_class=toy_tokenizer())
    inputs = next(iter(trainer.get_train_dataloader()))
    if padding_free:
        inputs = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "labels": inputs["labels"],
        }
    assert inputs["input_ids"].shape[0] == len(samples), "the whole batch at once"
    module.train()
    reference = trainer.compute_loss(module, dict(inputs))
    reference.backward()
    loss, gradients = our_loss_and_gradients(samples)
    assert abs(loss - reference.item()) < 1e-5
    agree(gradients, module)


def losses_of(
    *, batch_tokens: int, share: bool = True, technique: Any = None
) -> tuple[list[float], dict[str, torch.Tensor]]:
    policy = attach(technique or LoRA(rank=4), toy_loaded(), seed=1)
    source = OfflineBatches(samples=tuple(some_samples(24)), tokens=batch_tokens, share_prefixes=share)
    seen: list[float] = []
    train(
        policy, source, SFT(), options=TrainOptions(epochs=2, batch_rows=8, learning_rate=1e-3, clip_norm=0.5),
        hooks=[lambda progress, _: seen.append(progress.loss)],
    )  # fmt: skip
    return seen, {name: p.detach().clone() for name, p in policy.trainable.items()}


@pytest.mark.parametrize("technique", [LoRA(rank=4), Full()])
def test_eight_passes_of_one_row_equal_one_pass_of_eight(technique: Any) -> None:
    whole, weights = losses_of(batch_tokens=10_000, technique=technique)
    split, others = losses_of(batch_tokens=1, technique=technique)
    assert max(abs(a - b) for a, b in zip(whole, split, strict=True)) < 1e-5
    assert max(float((weights[n] - others[n]).abs().max()) for n in weights) < 1e-4


def test_tree_equals_flat_over_a_whole_training() -> None:
    tree, _ = losses_of(batch_tokens=10_000)
    flat, _ = losses_of(batch_tokens=10_000, share=False)
    assert max(abs(a - b) for a, b in zip(tree, flat, strict=True)) < 1e-5


def test_message_weights_scale_the_loss_of_their_tokens() -> None:
    row = some_samples(1)[0].rows[0]
    doubled = TokenRow(row.tokens, tuple(2 * w for w in row.weights))
    module = toy_loaded().module
    plain, double = (pack([Sample("a", (one,))]) for one in (row, doubled))
    from etude.batch import Scores

    objective = SFT()
    one = objective.loss(plain, Scores(score(module, plain))).total
    two = objective.loss(double, Scores(score(module, double))).total
    assert torch.isclose(two, 2 * one)
    assert objective.count(double) == 2 * objective.count(plain)
