"""What the peers' scripts have in common: the given rows, the clock, the settings that both sides share."""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, TrainerCallback

from bench.measured import Measured, read_job

IGNORED = -100
"""The label of a token that is not learned."""


class Clock(TrainerCallback):
    """The end of each update, and what was logged about it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []
        self.gradient_norms: list[float] = []

    def start(self) -> None:
        self.ends = [time.perf_counter()]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.gradient_norms.append(float(logs.get("grad_norm", 0.0)))


class Job:
    """The job with its rows."""

    def __init__(self) -> None:
        self.job = read_job()
        file = json.loads(Path(self.job["rows"]).read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = self.job["settings"]
        self.model_folder: str = file["model"]
        self.adapter: str = file["adapter"]
        self.samples_per_step: int = file["samples_per_step"]
        self.steps: int = self.job["steps"]
        self.samples: list[list[tuple[list[int], list[float]]]] = file["samples"][: self.steps * self.samples_per_step]
        self.lora: bool = self.job["technique"] == "lora"
        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        """What a trainer writes, gone with the process."""

    def tokens_of_steps(self) -> list[int]:
        sizes = [sum(len(tokens) for tokens, _ in rows) for rows in self.samples]
        return [sum(sizes[at : at + self.samples_per_step]) for at in range(0, len(sizes), self.samples_per_step)]

    def model(self) -> PreTrainedModel:
        return AutoModelForCausalLM.from_pretrained(
            self.model_folder,
            dtype=getattr(torch, self.settings["dtype"]),
            attn_implementation=self.settings["attention"],
            local_files_only=True,
        )

    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.model_folder, local_files_only=True)

    def lora_config(self) -> LoraConfig | None:
        """The same adapter as Etude's `LoRA()`: every linear layer but the head."""
        if not self.lora:
            return None
        return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")

    def same_start(self, model: Any) -> None:
        """Gives the trainer's model the fresh adapter that Etude starts from, so that losses can be laid over."""
        if self.lora:
            own = get_peft_model_state_dict(model)
            fresh = load_file(Path(self.adapter) / "adapter_model.safetensors")
            assert fresh.keys() <= own.keys(), fresh.keys() - own.keys()
            set_peft_model_state_dict(model, {**own, **fresh})  # a reward model's head stays the trainer's own

    def arguments(self) -> dict[str, Any]:
        """Settings of transformers' trainer: what Etude does, and the peer's own choices from the job."""
        rows_per_pass = self.settings["samples_per_pass"] or self.samples_per_step
        return {
            "output_dir": self.folder.name,
            "max_steps": self.steps,
            "per_device_train_batch_size": rows_per_pass,
            "gradient_accumulation_steps": self.samples_per_step // rows_per_pass,
            "learning_rate": self.job["learning_rate"],
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "optim": "adamw_torch_fused",
            "train_sampling_strategy": self.settings.get("order", "sequential"),
            "bf16": self.settings.get("autocast", True),
            "gradient_checkpointing": self.settings["gradient_checkpointing"],
            "torch_compile": self.settings.get("compile", False),
            "use_cpu": not torch.cuda.is_available(),
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 0,
        }

    def choose_head(self) -> None:
        """`compact`: TRL's head at the learned positions alone, as where Triton runs; no setting asks for it."""
        if self.settings["head"] == "compact":
            trl_names = importlib.import_module("trl.trainer.utils")
            trl_names._use_triton = lambda _device: True

    def train(self, trainer: Any, clock: Clock) -> None:
        """Trains and prints what was measured."""
        self.same_start(trainer.model)
        clock.start()
        trainer.train()
        Measured(
            seconds=[end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)],
            rows=[self.samples_per_step * len(self.samples[0])] * self.steps,
            tokens=self.tokens_of_steps(),
            losses=clock.losses,
            gradient_norms=clock.gradient_norms,
        ).print()
