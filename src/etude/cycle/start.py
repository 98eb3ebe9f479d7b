"""A run that starts from another run's model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from etude import durable
from etude.cycle.subjects import Named, open_subject
from etude.errors import RunError
from etude.models.options import ModelOptions
from etude.models.source import merged_folder
from etude.runs.directory import is_run, open_run
from etude.techniques.policy import Policy


def make_ready(model: ModelOptions) -> str | None:
    """Merges the adapter of the run that the model's name says, if it says one; that run's id, to be noted as parent.

    Raises:
        RunError: the run is not finished.
        ModelError: its adapter cannot be merged.
    """
    folder = Path(model.name)
    if not is_run(folder):
        return None
    run = open_run(folder)
    if run.state != "finished":
        raise RunError(f"is {run.state}, so nothing can start from it", where=str(folder), remedy="finish it first")
    place = merged_folder(folder)
    if not place.is_dir():
        _merge(folder, place)
    return run.manifest().run_id


def _merge(folder: Path, place: Path) -> None:
    opened = open_subject(str(folder), precision="float32")
    inner = opened.subject if isinstance(opened, Named) else opened
    assert isinstance(inner, Policy), "whole models need no merging"
    merged = inner.merge()
    durable.make_directory(place.parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".merging-") as building:
        built = Path(building) / "model"
        merged.module.save_pretrained(built)
        merged.tokenizer.save_pretrained(built)
        durable.replace(built, place)
