"""TRL's GRPOTrainer with its sampling and rewards replaced by given answers and advantages.

What is timed is what is left of its training step: padding the given rows, forward, loss, backward, clipping and AdamW.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from bench.peers.world import Clock, Job


class Given(GRPOTrainer):
    """Answers come from the job, in its order."""

    job: Job
    place: int = 0

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        samples = self.job.samples[self.place : self.place + self.job.samples_per_step]
        self.place += self.job.samples_per_step
        rows = [row for sample in samples for row in sample]
        starts = [sum(1 for _ in takewhile(lambda weight: not weight, weights)) for _, weights in rows]
        prompts = [tokens[:start] for (tokens, _), start in zip(rows, starts, strict=True)]
        answers = [tokens[start:] for (tokens, _), start in zip(rows, starts, strict=True)]
        pad = self._tokenizer.pad_token_id
        prompt_ids, prompt_mask = padded(prompts, pad, left=True)
        completion_ids, completion_mask = padded(answers, pad, left=False)
        return {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "advantages": torch.tensor([weights[-1] for _, weights in rows]),
            "num_items_in_batch": completion_mask.sum(),
        }


def padded(sequences: list[list[int]], pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """One tensor and its mask; prompts end together, answers begin together."""
    width = max(map(len, sequences))
    ids, mask = [], []
    for tokens in sequences:
        gap = width - len(tokens)
        ids.append([pad] * gap + tokens if left else tokens + [pad] * gap)
        mask.append([0] * gap + [1] * len(tokens) if left else [1] * len(tokens) + [0] * gap)
    return torch.tensor(ids), torch.tensor(mask)


def no_reward(completions: list[Any], **_: Any) -> list[float]:
    return [0.0] * len(completions)


def main() -> None:
    job, clock = Job(), Clock()
    job.choose_head()
    group = len(job.samples[0])
    arguments = job.arguments()
    arguments["per_device_train_batch_size"] *= group
    trainer = Given(
        model=job.model(),
        reward_funcs=no_reward,
        args=GRPOConfig(**arguments, num_generations=group, max_completion_length=64, beta=0.0, loss_type="dapo"),
        train_dataset=Dataset.from_dict({"prompt": [str(at) for at in range(len(job.samples))]}),
        processing_class=job.tokenizer(),
        peft_config=job.lora_config(),
        callbacks=[clock],
    )
    trainer.job = job
    job.train(trainer, clock)


if __name__ == "__main__":
    main()
