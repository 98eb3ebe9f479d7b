"""LLaMA-Factory's own training run on the given rows, handed over as its tokenised data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from llamafactory.train.tuner import run_exp

from bench.measured import Measured
from bench.peers.world import IGNORED, Clock, Job


class Start(Clock):
    """Gives the model the fresh adapter that Etude starts from, then starts the clock."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.job.same_start(model)
        self.start()


def tokenized(job: Job) -> str:
    """The folder that `tokenized_path` reads."""
    rows = [row for sample in job.samples for row in sample]
    columns = {
        "input_ids": [tokens for tokens, _ in rows],
        "attention_mask": [[1] * len(tokens) for tokens, _ in rows],
        "labels": [[token if weight else IGNORED for token, weight in zip(*row, strict=True)] for row in rows],
    }
    columns.update({name: [None] * len(rows) for name in ("images", "videos", "audios")})
    folder = Path(job.folder.name) / "tokenized"
    DatasetDict({"train": Dataset.from_dict(columns)}).save_to_disk(folder)
    return str(folder)


def main() -> None:
    job = Job()
    clock = Start(job)
    arguments = job.arguments()
    for name in (
        "optim",
        "train_sampling_strategy",
        "torch_compile",
        "logging_nan_inf_filter",
        "gradient_checkpointing",
    ):
        arguments.pop(name)
    run_exp(
        {
            **arguments,
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": job.model_folder,
            "template": "default",
            "tokenized_path": tokenized(job),
            "dataset": "given",
            "disable_shuffling": True,
            "finetuning_type": "lora" if job.lora else "full",
            "lora_rank": 16,
            "lora_alpha": 32,
            "lora_dropout": 0.0,
            "lora_target": "all",
            "flash_attn": job.settings["attention"],
            "disable_gradient_checkpointing": not job.settings["gradient_checkpointing"],
            "optim": "adamw_torch_fused",
            "plot_loss": False,
            "overwrite_output_dir": True,
        },
        callbacks=[clock],
    )
    Measured(
        seconds=[end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)],
        rows=[job.samples_per_step] * job.steps,
        tokens=job.tokens_of_steps(),
        losses=clock.losses,
        gradient_norms=clock.gradient_norms,
    ).print()


if __name__ == "__main__":
    main()
