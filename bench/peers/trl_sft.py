"""TRL's SFTTrainer on the given rows."""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from bench.peers.world import IGNORED, Clock, Job


class OwnHead(SFTTrainer):
    """The loss as the model itself computes it: TRL's chunked head scores every position, in float32."""

    compute_loss = Trainer.compute_loss


def main() -> None:
    job, clock = Job(), Clock()
    job.choose_head()
    rows = [row for sample in job.samples for row in sample]
    labels = [[token if weight else IGNORED for token, weight in zip(*row, strict=True)] for row in rows]
    trainer_class = OwnHead if job.settings["head"] == "model" else SFTTrainer
    trainer = trainer_class(
        model=job.model(),
        args=SFTConfig(
            **job.arguments(),
            max_length=None,
            padding_free=job.settings["padding_free"],
            pad_to_multiple_of=job.settings["pad_to_multiple_of"],
        ),
        train_dataset=Dataset.from_dict({"input_ids": [tokens for tokens, _ in rows], "labels": labels}),
        processing_class=job.tokenizer(),
        peft_config=job.lora_config(),
        callbacks=[clock],
    )
    job.train(trainer, clock)


if __name__ == "__main__":
    main()
