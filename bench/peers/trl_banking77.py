"""BANKING77 from its files to a measured adapter with TRL: read, tokenise, train, save, answer the test queries."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

from bench.measured import Measured, read_job
from bench.peers.trl_sft import OwnHead

INSTRUCTION = "Classify the banking query into its intent.\nQuery: {text}"
BATCH = 32
ANSWER_ROWS, ANSWER_TOKENS = 64, 20


def read(path: str, limit: int | None) -> list[dict[str, Any]]:
    """Rows as TRL's conversational prompt and completion."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    return [
        {
            "prompt": [{"role": "user", "content": INSTRUCTION.format(text=row["text"])}],
            "completion": [{"role": "assistant", "content": row["category"]}],
        }
        for row in rows
    ]


def trained(job: dict[str, Any], tokenizer: Any, folder: str) -> Any:
    """The model with its adapter merged, by the recipe of examples/banking77.yaml."""
    settings = job["settings"]
    model = AutoModelForCausalLM.from_pretrained(
        job["model"],
        dtype=getattr(torch, settings["dtype"]),
        attn_implementation=settings["attention"],
        local_files_only=True,
    )
    trainer = OwnHead(
        model=model,
        args=SFTConfig(
            output_dir=folder,
            num_train_epochs=job["epochs"],
            max_steps=job["steps"] or -1,
            per_device_train_batch_size=settings["samples_per_pass"],
            gradient_accumulation_steps=BATCH // settings["samples_per_pass"],
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            weight_decay=0.0,
            bf16=settings["autocast"],
            gradient_checkpointing=False,
            use_cpu=True,
            logging_steps=50,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=Dataset.from_list(read(job["train"], None)),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model(folder)
    return trainer.model.merge_and_unload().eval()


def accuracy(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> float:
    """Share of answers that are the label, word for word."""
    tokenizer.padding_side = "left"
    right = 0
    ordered = sorted(rows, key=lambda row: len(row["prompt"][0]["content"]))
    for start in range(0, len(ordered), ANSWER_ROWS):
        batch = ordered[start : start + ANSWER_ROWS]
        asked = tokenizer.apply_chat_template(
            [row["prompt"] for row in batch],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            whole = model.generate(**asked, do_sample=False, max_new_tokens=ANSWER_TOKENS)
        answers = tokenizer.batch_decode(whole[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        right += sum(
            answer.strip() == row["completion"][0]["content"] for answer, row in zip(answers, batch, strict=True)
        )
    return right / len(rows)


def main() -> None:
    job = read_job()
    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        model = trained(job, tokenizer, folder)
    found = accuracy(model, tokenizer, read(job["test"], job["limit"]))
    Measured(seconds=[], rows=[], tokens=[], figures={"accuracy": found}).print()


if __name__ == "__main__":
    main()
