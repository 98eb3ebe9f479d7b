"""Etude's answers to the given prompts, greedy, always to the last token; the tokens counted are the new ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

from bench.measured import Measured, read_job
from etude.models.load import load
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample

NEW_TOKENS = 64


def main() -> None:
    job = read_job()
    file = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    at_once = file["samples_per_step"]
    prompts = [tuple(tokens) for rows in file["samples"][: job["steps"] * at_once] for tokens, _ in rows]
    model = load(file["model"])
    seconds: list[float] = []
    answers: list[list[int]] = []
    for start in range(0, len(prompts), at_once):
        began = time.perf_counter()
        found = sample(
            model,
            prompts[start : start + at_once],
            SampleOptions(max_new_tokens=NEW_TOKENS, batch_rows=at_once),
            end_ids=frozenset(),
        )
        answers += [list(one.tokens) for one in found]
        seconds.append(time.perf_counter() - began)
    rounds = len(seconds)
    Measured(
        seconds=seconds,
        rows=[at_once] * rounds,
        tokens=[sum(map(len, answers)) // rounds] * rounds,
        answers=answers,
    ).print()


if __name__ == "__main__":
    main()
