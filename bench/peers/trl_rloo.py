"""A whole iteration of TRL's RLOOTrainer: answers by transformers' generate, a reward, the distance to the model with
its adapter off, one update. TRL has no PPO any more; this is the nearest that it has, and it does without a critic."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import RLOOConfig, RLOOTrainer

from bench.peers.world import Clock, Job
from bench.rewarded import GROUP, MAX_NEW_TOKENS, reward


def rewards(completions: list[str], **_: Any) -> list[float]:
    return [reward(text) for text in completions]


def main() -> None:
    job, clock = Job(), Clock()
    tokenizer = job.tokenizer()
    prompts = [tokenizer.decode(tokens) for ((tokens, _),) in job.samples]
    arguments = job.arguments()
    arguments["per_device_train_batch_size"] *= GROUP
    trainer = RLOOTrainer(
        model=job.model(),
        reward_funcs=rewards,
        args=RLOOConfig(
            **arguments, num_generations=GROUP, max_completion_length=MAX_NEW_TOKENS, beta=0.05, temperature=1.0,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        peft_config=job.lora_config(),
        callbacks=[clock],
    )  # fmt: skip
    job.train(trainer, clock)


if __name__ == "__main__":
    main()
