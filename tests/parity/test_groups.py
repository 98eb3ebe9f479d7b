"""Losses of groups of answers against TRL's on the same batch, in float32; advantages against its and by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from etude.batch import Sample, TokenRow
from etude.objectives.group_advantages import advantages
from etude.objectives.grpo import GRPO
from tests.parity.test_preferences import NUM, Moved, agree, drawn, moved
from tests.toy import toy_module, toy_tokenizer

ADVANTAGES = (0.7, -1.2, 0.1, 1.5, -0.4, -0.7)
LONGEST = 8
GROUP = 3


def answers() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    found = []
    for i in range(NUM):
        (asked,) = drawn(9 + i // GROUP, seed=i // GROUP)
        (answer,) = drawn(2 + i % 5, seed=50 + i)
        found.append((asked, (*answer, 2)))
    return found


def old_of(i: int, length: int) -> list[float]:
    generator = torch.Generator().manual_seed(100 + i)
    return (-6 + 0.3 * torch.randn(length, generator=generator)).tolist()


def samples() -> list[Sample]:
    found = []
    for start in range(0, NUM, GROUP):
        rows = []
        for i in range(start, start + GROUP):
            asked, answer = answers()[i]
            zeros = [0.0] * len(asked)
            given = {"old": [*zeros, *old_of(i, len(answer))], "advantage": [*zeros, *[ADVANTAGES[i]] * len(answer)]}
            rows.append(TokenRow((*asked, *answer), (*zeros, *[1.0] * len(answer)), 0.0, given))
        found.append(Sample(str(start), tuple(rows)))
    return found


def theirs(folder: Path, **settings: Any) -> tuple[torch.Tensor, Any]:
    from trl import GRPOConfig, GRPOTrainer

    toy_module().save_pretrained(folder / "base")
    module = moved(toy_module())
    module.config._name_or_path = str(folder / "base")  # where the library finds its reference
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = GRPOTrainer(
            model=module, reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_list([{"prompt": "a"}] * NUM), processing_class=toy_tokenizer(),
            args=GRPOConfig(
                output_dir=str(folder), per_device_train_batch_size=NUM, num_generations=GROUP, use_cpu=True,
                report_to="none", bf16=False, max_completion_length=LONGEST, gradient_checkpointing=False, **settings,
            ),
        )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    rows = answers()
    width, length = max(len(asked) for asked, _ in rows), max(len(answer) for _, answer in rows)
    inputs = {
        "prompt_ids": torch.zeros(NUM, width, dtype=torch.long),
        "prompt_mask": torch.zeros(NUM, width, dtype=torch.long),
        "completion_ids": torch.zeros(NUM, length, dtype=torch.long),
        "completion_mask": torch.zeros(NUM, length, dtype=torch.long),
        "old_per_token_logps": torch.zeros(NUM, length), "advantages": torch.tensor(ADVANTAGES),
    }  # fmt: skip
    for i, (asked, answer) in enumerate(rows):
        inputs["prompt_ids"][i, width - len(asked) :] = torch.tensor(asked)
        inputs["prompt_mask"][i, width - len(asked) :] = 1
        inputs["completion_ids"][i, : len(answer)] = torch.tensor(answer)
        inputs["completion_mask"][i, : len(answer)] = 1
        inputs["old_per_token_logps"][i, : len(answer)] = torch.tensor(old_of(i, len(answer)))
    inputs["num_items_in_batch"] = inputs["completion_mask"].sum().float()
    if settings.get("beta"):
        with torch.no_grad():
            inputs["ref_per_token_logps"], *_ = trainer._get_per_token_logps_and_entropies(
                trainer.ref_model, torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
                torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1), length,
            )  # fmt: skip
    trainer.model.eval()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss, trainer.model


CASES = [
    (GRPO(loss_type="grpo"), {"loss_type": "grpo"}),
    (GRPO(), {"loss_type": "dapo"}),
    (GRPO(loss_type="dr_grpo", constant_length=LONGEST), {"loss_type": "dr_grpo"}),
    (GRPO(loss_type="grpo", level="sequence"), {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
    (GRPO(loss_type="cispo", clip_high=4.0), {"loss_type": "cispo", "epsilon_high": 5.0}),
    (GRPO(kl=0.3), {"loss_type": "dapo", "beta": 0.3}),
    (GRPO(loss_type="grpo", kl=0.1), {"loss_type": "grpo", "beta": 0.1}),
]


@pytest.mark.parametrize(("objective", "settings"), CASES, ids=[str(settings) for _, settings in CASES])
def test_losses_and_gradients_equal_trl(objective: GRPO, settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {"epsilon_high": 0.28, "beta": 0.0, **settings}
    loss, module = theirs(tmp_path / "trl", **settings)
    agree(Moved(tmp_path, objective).loss(objective, samples()), loss, module)


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    group = advantages(rewards, "group")
    assert group[0].tolist() == pytest.approx([-1 / 1.0001, 0, 1 / 1.0001])
    assert advantages(rewards, "mean")[0].tolist() == [-1, 0, 1]
    assert advantages(rewards, "others")[0].tolist() == [-1.5, 0, 1.5]
    for baseline in ("group", "mean", "others"):
        assert advantages(rewards, baseline)[1].tolist() == [0, 0, 0], "equal rewards teach nothing"  # type: ignore[arg-type]
    whole = advantages(rewards, "batch")
    assert abs(float(whole.mean())) < 1e-6
    assert abs(float(whole.std()) - 1) < 1e-3


@pytest.mark.parametrize("baseline", ["group", "mean", "others", "batch"])
def test_an_answer_without_a_reward_counts_for_nothing(baseline: Any) -> None:
    known = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    with_gap = torch.tensor([[1.0, 2.0, torch.nan, 4.0]], dtype=torch.float64)
    found = advantages(with_gap, baseline)
    assert found[0, 2] == 0
    assert torch.allclose(found[0, [0, 1, 3]], advantages(known, baseline)[0])
    assert advantages(torch.full((2, 3), torch.nan, dtype=torch.float64), baseline).abs().sum() == 0
