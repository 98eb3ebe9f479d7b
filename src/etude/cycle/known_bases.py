"""What a base model answered to the retention probes, kept so that only the first run on it has to ask."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from etude import durable
from etude.data.render import Renderer
from etude.errors import EtudeError, StorageError
from etude.evaluation.harness import asked
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task
from etude.json_values import json_sha256
from etude.models.loaded import LoadedModel
from etude.models.source import cache_folder


def kept_at(model: LoadedModel, task: Task, rows_sha256: str, *, limit: int | None, batch_rows: int) -> Path:
    """Where the base's report on a probe lies: named by all that it depends on, versions of the code included."""
    weights = model.module.get_input_embeddings().weight
    told = {
        "base": model.base_hash,
        "numbers": [str(weights.dtype), weights.device.type, model.way, type(model.module).__name__],
        "held": sorted({type(layer).__name__ for layer in model.module.modules()}),
        "template": Renderer(model.tokenizer).template_sha256,
        "task": [task.name, rows_sha256, asked(task, limit=limit)],
        "batch_rows": batch_rows,
        "versions": {name: version(name) for name in ("etude", "torch", "transformers")},
    }
    return cache_folder().parent / "retention" / f"{json_sha256(told)[:32]}.jsonl"


def known_report(kept: Path, model: LoadedModel) -> Report | None:
    """What is kept, under the name by which the model is asked now; None where it is not whole."""
    try:
        return replace(Report.load(kept), subject=model.name)
    except EtudeError:
        return None


def keep_report(kept: Path, report: Report) -> None:
    """For later runs; a disk that refuses costs them the time, and this run nothing."""
    with suppress(StorageError, OSError):
        durable.make_directory(kept.parent, exist_ok=True)
        report.save(kept)
