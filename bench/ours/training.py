"""Etude's updates on the given rows, timed from the end of one to the end of the next."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.measured import Measured, read_job
from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches, epoch_order
from etude.models.load import load
from etude.models.options import ModelOptions
from etude.objectives.base import Objective
from etude.objectives.dpo import DPO
from etude.objectives.grpo import GRPO
from etude.objectives.reward import Reward
from etude.objectives.sft import SFT
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.progress import Progress

OBJECTIVES: dict[str, Objective] = {"sft": SFT(), "dpo": DPO(), "grpo": GRPO(clip_high=0.2), "reward": Reward()}


def in_order(samples: list[Sample]) -> tuple[Sample, ...]:
    """The samples placed so that `OfflineBatches`, which shuffles, gives them back in this order."""
    placed = list(samples)
    for sample, place in zip(samples, epoch_order(len(samples), seed=0, epoch=0), strict=True):
        placed[place] = sample
    return tuple(placed)


def samples_of(file: dict[str, Any]) -> list[Sample]:
    return [
        Sample(str(at), tuple(TokenRow(tuple(tokens), tuple(weights)) for tokens, weights in rows))
        for at, rows in enumerate(file["samples"])
    ]


def with_advantage(row: TokenRow) -> TokenRow:
    """The rows' file keeps a group's advantages as weights."""
    weights = tuple(float(weight != 0) for weight in row.weights)
    return TokenRow(row.tokens, weights, given={"advantage": tuple(row.weights)})


class Updates:
    """The job's model, rows and options, ready to be trained."""

    def __init__(self) -> None:
        job = read_job()
        file = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
        settings = job["settings"]
        samples = samples_of(file)[: job["steps"] * file["samples_per_step"]]
        if job["objective"] == "grpo":
            samples = [replace(one, rows=tuple(map(with_advantage, one.rows))) for one in samples]
        self.rows_per_sample = len(samples[0].rows)
        packing = {key: settings[key] for key in ("share_prefixes", "tokens") if key in settings}
        self.objective = OBJECTIVES[job["objective"]]
        self.source = OfflineBatches(samples=in_order(samples), shown=self.objective.shown, **packing)
        self.options = TrainOptions(
            steps=job["steps"],
            batch_rows=file["samples_per_step"],
            learning_rate=job["learning_rate"],
            schedule="constant",
            warmup_share=0.0,
        )
        asked = {key: settings[key] for key in ("precision", "activation_checkpointing") if key in settings}
        model = load(ModelOptions(name=file["model"], **asked))
        technique = LoRA() if job["technique"] == "lora" else Full()
        self.policy = attach(technique, model, value_head=self.objective.needs_values)

    def run(self) -> tuple[list[float], list[Progress]]:
        """All updates: the seconds of each, packing included, and what the loop told of it."""
        seen: list[Progress] = []
        ends = [time.perf_counter()]

        def note(progress: Progress, _policy: object) -> None:
            seen.append(progress)
            ends.append(time.perf_counter())

        train(self.policy, self.source, self.objective, options=self.options, hooks=[note])
        return [end - start for start, end in pairwise(ends)], seen


def main() -> None:
    updates = Updates()
    seconds, seen = updates.run()
    Measured(
        seconds=seconds,
        rows=[one.rows * updates.rows_per_sample for one in seen],
        tokens=[one.tokens for one in seen],
        losses=[one.loss for one in seen],
        gradient_norms=[one.grad_norm for one in seen],
        figures={"computed_share": sum(one.tokens_computed for one in seen) / sum(one.tokens for one in seen)},
    ).print()


if __name__ == "__main__":
    main()
