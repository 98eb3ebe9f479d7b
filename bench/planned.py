"""The planner against the engine: predicted and measured peaks of real trainings, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from bench.measured import peak_gigabytes
from bench.pairs import OFFLINE
from etude.models.options import ModelOptions, Precision

MODEL = "smollm2-135m-instruct"
STEPS = 3


@dataclass(frozen=True)
class Trial:
    """A technique on rows of one length."""

    technique: str
    length: int
    rows: int
    learned: float = 0.25
    """Share of a row's tokens that is learned."""
    objective: str = "sft"
    settings: str = "{}"
    model: str = MODEL
    precision: Precision = "auto"

    @property
    def options(self) -> ModelOptions:
        return ModelOptions(name=self.model, precision=self.precision)


TRIALS = tuple(
    Trial(technique, length, rows, settings=settings)
    for technique, settings in (
        ("lora", "{}"),
        ("lora", '{"rank": 64}'),
        ("full", "{}"),
        ("qlora", "{}"),
        ("adapter", "{}"),
        ("sparse", '{"choose": "random"}'),
        ("ia3", "{}"),
    )
    for length, rows in ((64, 8), (256, 8), (512, 8), (1024, 2))
)
TRIALS += tuple(Trial("lora", 256, 8, objective="dpo", settings=s) for s in ("{}", '{"rank": 64}'))
TRIALS += tuple(Trial(technique, length, 1) for technique in ("lora", "full", "qlora") for length in (2048, 4096))


def main() -> None:
    """A line a trial; the error is the prediction over what was measured."""
    print("| technique | settings | objective | rows | tokens | predicted GB | measured GB | error |")
    print("|---|---|---|---|---|---|---|---|")
    errors = []
    for trial in TRIALS:
        found, predicted = peaks_of(trial)
        error = predicted["peak"] / found["peak"] - 1
        errors.append(error)
        print(
            f"| {trial.technique} | {trial.settings.strip('{}')} | {trial.objective} | {trial.rows} | {trial.length} "
            f"| {predicted['peak']:.2f} | {found['peak']:.2f} | {error:+.1%} |",
            flush=True,
        )
    within = sum(abs(error) <= 0.1 for error in errors)
    print(f"\nwithin 10 %: {within} of {len(errors)}; from {min(errors):+.1%} to {max(errors):+.1%}")


def peaks_of(trial: Trial) -> tuple[dict[str, float], dict[str, float]]:
    """What was measured and what was predicted, in gigabytes under `peak`."""
    return _child("measure", trial), _child("predict", trial)


def _child(what: str, trial: Trial) -> dict[str, float]:
    import os

    command = [sys.executable, "-m", "bench.planned", what, json.dumps(asdict(trial))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _technique(trial: Trial) -> Any:
    from etude.config.kinds import kind_class

    found = kind_class("technique", trial.technique)
    assert found is not None
    return found(**json.loads(trial.settings))


def _source(trial: Trial) -> Any:
    import numpy as np

    from etude.batch import Sample, TokenRow
    from etude.data.batches import OfflineBatches

    draw = np.random.default_rng(0)
    learned = max(1, round(trial.learned * trial.length))
    weights = (0.0,) * (trial.length - learned) + (1.0,) * learned
    pair = 2 if trial.objective == "dpo" else 1

    def row() -> TokenRow:
        return TokenRow(tuple(int(token) for token in draw.integers(5, 49_000, trial.length)), weights)

    samples = [Sample(str(i), tuple(row() for _ in range(pair))) for i in range(trial.rows * STEPS)]
    return OfflineBatches(samples=samples)


def measure(trial: Trial) -> None:
    """Trains a few updates and tells the peak."""
    from bench.ours.training import OBJECTIVES
    from etude.models.load import load
    from etude.techniques.policy import attach
    from etude.training.loop import train
    from etude.training.options import TrainOptions

    technique = _technique(trial)
    policy = attach(technique, load(trial.options, held=technique.base_held_as))
    options = TrainOptions(steps=STEPS, batch_rows=trial.rows, learning_rate=1e-4)
    train(policy, _source(trial), OBJECTIVES[trial.objective], options=options)
    print(json.dumps({"peak": peak_gigabytes()}))


def predict(trial: Trial) -> None:
    """The planner's peak for the same."""
    from etude.cycle.foresee import predicted_peak

    peak = predicted_peak(_technique(trial), _source(trial), trial.options, batch_rows=trial.rows)
    print(json.dumps({"peak": peak / 1e9}))


if __name__ == "__main__":
    {"measure": measure, "predict": predict}[sys.argv[1]](Trial(**json.loads(sys.argv[2])))
