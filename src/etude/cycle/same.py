"""What a run is made of, and whether a run that goes on is still made of the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from etude import yaml_text
from etude.config import RunFile, dump
from etude.config.run_file import plain
from etude.errors import EtudeError, Problems
from etude.evaluation.options import EvaluationOptions
from etude.planning.options import PlanningOptions
from etude.runs.diff import flatten
from etude.runs.directory import RunDirectory
from etude.runs.manifest import Manifest
from etude.training.outward import LoggingOptions

MAY_CHANGE = ("output", "target", "evaluation.", "logging.", "planning.")
"""Settings that the weights do not depend on: a run may go on with others."""


def decisive(run_file: RunFile) -> RunFile:
    """Only the settings that the weights depend on; all others as they are by default."""
    beside = {"evaluation": EvaluationOptions(), "logging": LoggingOptions(), "planning": PlanningOptions()}
    return replace(run_file, output="", target="any", **beside)  # type: ignore[arg-type]  # sections by name


def identity(run_file: RunFile, manifest: Manifest) -> dict[str, str]:
    """Hashes of all that the weights depend on."""
    return {
        "settings": hashlib.sha256(dump(decisive(run_file)).encode()).hexdigest(),
        "data": manifest.data.sha256,
        "base": manifest.base.hash,
        "template": manifest.template_sha256,
    }


def refuse_changes(run: RunDirectory, now: Manifest, run_file: RunFile) -> None:
    """Lets a run go on only as what it began as; changes nothing.

    Raises:
        Problems: every setting, data set, base model or chat template that is not what it was, with both values.
    """
    before = run.manifest()
    was, is_now = _settings(run.run_file), flatten(_mapping(plain(run_file)))
    names = sorted({*was, *is_now}) if was else []
    found = [
        EtudeError(f"was {was.get(name, 'not there')}, is now {is_now.get(name, 'not there')}", where=name)
        for name in names
        if not name.startswith(MAY_CHANGE) and was.get(name) != is_now.get(name)
    ]
    hashes = {
        "the data's content": (before.data.sha256, now.data.sha256),
        "the base model's weights": (before.base.hash, now.base.hash),
        "the chat template": (before.template_sha256, now.template_sha256),
    }
    for name, (old, new) in hashes.items():
        if old != new:
            found.append(EtudeError(f"was sha256 {old[:12]}, is now {new[:12]}", where=name))
    if found:
        remedy = "put it back as it was, or begin a new run with another output"
        raise Problems(f"{run.path} cannot go on, it was begun with something else", [*found, remedy])


def _settings(path: Path) -> dict[str, str]:
    """The settings that the run began with; none when their file is gone, the hashes still count."""
    if not path.is_file():
        return {}
    return flatten(_mapping(yaml_text.parse(yaml_text.read_text(path, needs=""), where=str(path)).value))


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}
