"""transformers' `generate` on the given prompts, greedy, always to the last token."""

from __future__ import annotations

import time

import torch

from bench.measured import Measured
from bench.peers.world import Job

NEW_TOKENS = 64


def main() -> None:
    job = Job()
    model, tokenizer = job.model().eval(), job.tokenizer()
    tokenizer.padding_side = "left"
    prompts = [tokens for rows in job.samples for tokens, _ in rows]
    choices = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    if job.settings["cache"]:
        choices["cache_implementation"] = job.settings["cache"]
    seconds: list[float] = []
    answers: list[list[int]] = []
    for start in range(0, len(prompts), job.samples_per_step):
        began = time.perf_counter()
        batch = tokenizer.pad({"input_ids": prompts[start : start + job.samples_per_step]}, return_tensors="pt")
        with torch.inference_mode():
            whole = model.generate(**batch, **choices, pad_token_id=tokenizer.pad_token_id)
        answers += whole[:, batch["input_ids"].shape[1] :].tolist()
        seconds.append(time.perf_counter() - began)
    rounds = len(seconds)
    Measured(
        seconds=seconds,
        rows=[job.samples_per_step] * rounds,
        tokens=[job.samples_per_step * NEW_TOKENS] * rounds,
        answers=answers,
    ).print()


if __name__ == "__main__":
    main()
