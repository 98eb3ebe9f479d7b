"""One technique trained on one task: quality on test rows, cost, and what the model forgot besides."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.measured import peak_gigabytes, read_job
from bench.ours.forgetting import probes
from etude.config import RunFile
from etude.config.kinds import kind_class
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Quiet
from etude.cycle.sources import prepare_policy
from etude.data.batches import OfflineBatches
from etude.data.options import DataOptions
from etude.evaluation.harness import evaluate
from etude.evaluation.tasks import task_from
from etude.models.load import load
from etude.models.loaded import Subject
from etude.models.options import ModelOptions
from etude.objectives.sft import SFT
from etude.techniques.policy import Policy
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.progress import Progress

ANSWER_ROWS = 64
WARM = 3
"""Updates that do not count in the seconds of one."""
NEVER = 1_000_000


def run_file_of(job: dict[str, Any]) -> RunFile:
    kind = kind_class("technique", job["technique"])
    assert kind is not None
    return RunFile(
        model=ModelOptions(name=job["model"], **job.get("model_settings", {})),
        data=DataOptions(train=job["train"], holdout=job["holdout"], max_tokens=512),
        technique=kind(**job["settings"]),
        objective=SFT(),
        training=TrainOptions(
            steps=job["steps"],
            batch_rows=job["batch_rows"],
            learning_rate=job["learning_rate"],
            keep_best=False,
            heldout_every=job["steps"] if job["looks"] else NEVER,
        ),
        output="",
    )


def trained(job: dict[str, Any]) -> tuple[Policy, dict[str, Any]]:
    """The policy after the job's updates, and what they took."""
    run_file = run_file_of(job)
    policy, source = prepare_policy(run_file, Quiet())
    heldout = prepare_rows(run_file, Quiet(), quarantine=None).heldout
    seen: list[Progress] = []
    result = train(
        policy,
        source,
        run_file.objective,
        options=run_file.training,
        heldout=OfflineBatches(samples=heldout) if job["looks"] else None,
        hooks=[lambda progress, _: seen.append(progress)],
    )
    found = {
        "heldout_loss": result.heldout_loss,
        "trainable": policy.num_trainable,
        "peak": peak_gigabytes(),
        "seconds": statistics.median(one.seconds for one in seen[WARM:]),
        "saved": saved_megabytes(policy),
    }
    return policy, found


def saved_megabytes(policy: Policy) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder) / "saved"
        policy.save(place)
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e6


def quality(subject: Subject, task: dict[str, Any]) -> dict[str, Any]:
    report = evaluate(subject, task_from(task), batch_rows=ANSWER_ROWS)
    low, high = report.intervals[report.metric]
    scores = [item.scores[report.metric] for item in report.items]
    return {"quality": report.summary[report.metric], "low": low, "high": high, "scores": scores}


def main() -> None:
    job = read_job()
    found: dict[str, Any] = {}
    subject: Subject
    if job["technique"] == "base":
        subject = load(ModelOptions(name=job["model"]))
    else:
        subject, found = trained(job)
    if job["test"]:
        found |= quality(subject, job["test"]) | probes(subject)
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main())
