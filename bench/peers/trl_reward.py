"""TRL's RewardTrainer on the given pairs: a sequence classifier with one label on the same base, with LoRA."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from bench.peers.world import Clock, Job


class Tokenized(RewardTrainer):
    """Takes the rows as they are: RewardTrainer itself would tokenise texts anew."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def main() -> None:
    job, clock = Job(), Clock()
    tokenizer = job.tokenizer()
    model = AutoModelForSequenceClassification.from_pretrained(
        job.model_folder,
        num_labels=1,
        dtype=getattr(torch, job.settings["dtype"]),
        attn_implementation=job.settings["attention"],
        pad_token_id=tokenizer.pad_token_id,
        local_files_only=True,
    )
    pairs = [{"chosen_ids": chosen, "rejected_ids": rejected} for (chosen, _), (rejected, _) in job.samples]
    trainer = Tokenized(
        model=model,
        args=RewardConfig(**job.arguments(), max_length=None, center_rewards_coefficient=0.01),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS",
            modules_to_save=["score"],
        ),
        callbacks=[clock],
    )  # fmt: skip
    job.train(trainer, clock)


if __name__ == "__main__":
    main()
