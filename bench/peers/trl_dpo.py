"""TRL's DPOTrainer on the given pairs; the reference is the model with its adapter off, computed in every update."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from bench.peers.world import Clock, Job


class Tokenized(DPOTrainer):
    """Takes the rows as they are: DPOTrainer itself would tokenise texts anew."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def pair(rows: list[tuple[list[int], list[float]]]) -> dict[str, list[int]]:
    """The prompt is what comes before the first learned token."""
    (chosen, weights), (rejected, _) = rows
    length = sum(1 for _ in takewhile(lambda weight: not weight, weights))
    return {"prompt_ids": chosen[:length], "chosen_ids": chosen[length:], "rejected_ids": rejected[length:]}


def main() -> None:
    job, clock = Job(), Clock()
    job.choose_head()
    trainer = Tokenized(
        model=job.model(),
        args=DPOConfig(**job.arguments(), beta=0.1, max_length=None),
        train_dataset=Dataset.from_list([pair(rows) for rows in job.samples]),
        processing_class=job.tokenizer(),
        peft_config=job.lora_config(),
        callbacks=[clock],
    )
    job.train(trainer, clock)


if __name__ == "__main__":
    main()
