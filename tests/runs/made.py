"""Small runs, made through the same functions that training uses."""

from __future__ import annotations

import json
from pathlib import Path

from etude import durable
from etude.runs.directory import RunDirectory, claim
from etude.runs.manifest import BaseModel, DataSource, Manifest, Status, new_run_id


def manifest(**changes: object) -> Manifest:
    facts: dict[str, object] = {
        "run_id": new_run_id(), "created": "2026-03-01T12:00:00+00:00", "status": "running", "etude_version": "0.1.0",
        "versions": {"python": "3.11.7", "torch": "2.13.0"}, "base": BaseModel("org/base-135m", "a" * 64), "seed": 0,
        "data": DataSource("d" * 64, "tickets.jsonl"), "template_sha256": "b" * 64, "config_sha256": "c" * 64,
        "command": ("etude", "train", "my tickets.yaml"), "timings": {"load": 3.0, "training": 60.5},
    }  # fmt: skip
    return Manifest(**facts | changes)


def verdict(
    task: str = "tickets", *, base: float = 0.03, tuned: float = 0.915, answer: str = "better"
) -> dict[str, object]:
    return {
        "task": task, "metric": "match", "n": 200, "base": base, "tuned": tuned, "difference": tuned - base,
        "low": tuned - base - 0.05, "high": tuned - base + 0.05, "level": 0.95, "p_value": 1e-9,
        "method": "exact McNemar", "answer": answer, "smallest_gain": 0.0, "details": {},
    }  # fmt: skip


def make_run(
    path: Path,
    *,
    status: Status = "finished",
    learning_rate: float = 1e-3,
    verdicts: tuple[dict[str, object], ...] = (),
    **changes: object,
) -> RunDirectory:
    run, lease = claim(path)
    made = manifest(**changes)
    made.save(run.path)
    settings = "technique: {kind: lora, rank: 16}\n"
    settings += f"training: {{epochs: 2, learning_rate: {learning_rate}}}\noutput: {path}\n"
    durable.write_text(run.run_file, settings)
    for step in (1, 2, 3):
        durable.append_line(run.metrics_file, json.dumps({"step": step, "loss": 3.0 / step}))
        durable.append_line(run.metrics_file, json.dumps({"step": step, "heldout_loss": 1.0 + abs(step - 2) / 10}))
    if verdicts:
        durable.write_json(run.verdict_file, {"verdicts": verdicts, "gap": {"gap": 0.05}})
    made.finished(run.path, status=status).save(run.path)
    lease.release()
    return run
