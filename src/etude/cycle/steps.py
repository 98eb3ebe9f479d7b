"""What a run file does to its rows before they are split: each step a file, kept by what it was made of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from etude.config.paths import STEP_FILES, STEP_SOURCES
from etude.cycle.show import Show
from etude.cycle.writing import embedder
from etude.data.cache import cache_key
from etude.data.clean import Clean
from etude.data.inputs import Inputs, Reading, open_inputs
from etude.data.keeping import keep_newest
from etude.data.options import DataOptions
from etude.data.work import Step, manifest_of, work
from etude.runs.store import home

ROWS = "rows.jsonl"


@dataclass(frozen=True)
class Stepped:
    """Where the rows are that training reads."""

    data: DataOptions
    """With the file that the last step wrote in the place of the one that was named, and without steps."""
    manifests: tuple[dict[str, Any], ...] = ()
    """Of each step."""


def do_steps(data: DataOptions, show: Show) -> Stepped:
    """The rows after all steps; a step that was done before on the same rows is not done again.

    Raises:
        DataError: a source that cannot be read, or a step that keeps no row.
    """
    manifests: list[dict[str, Any]] = []
    for step in data.steps:
        reading = Reading(format=data.format, columns=data.columns)
        inputs = open_inputs([data.train], reading, progress=show.progress)
        output = home() / "steps" / _key(step, inputs) / ROWS
        if output.exists():
            os.utime(output)  # when it was used last
        else:
            embed = embedder(step.embedder, show.progress) if isinstance(step, Clean) and step.embedder else None
            work(inputs, step, output, force=True, embed=embed)
            keep_newest(output.parent.parent, output.parent.name, mark=ROWS)
        manifest = json.loads(manifest_of(output).read_text(encoding="utf-8"))
        for line in _told(step, manifest):
            show.say(line)
        manifests.append(manifest)
        data = replace(data, train=str(output))
        if manifest["rewritten"]:
            data = replace(data, format="auto", columns={})
    return Stepped(replace(data, steps=()), tuple(manifests))


def _key(step: Step, inputs: Inputs) -> str:
    """A hash of everything that the step's result depends on."""
    named = [getattr(step, item.name) for item in fields(step) if item.name in STEP_SOURCES]
    beside = open_inputs([source for sources in named for source in sources], Reading(need_layout=False))
    files = [Path(str(getattr(step, item.name))) for item in fields(step) if item.name in STEP_FILES]
    return cache_key(
        step=asdict(step),
        files=[sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()],
        rows=[[file.name, file.sha256] for file in (*inputs.files, *beside.files)],
        reading=[inputs.reading.format, dict(inputs.reading.columns or {})],
    )


def _told(step: Step, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a step came to, in sentences."""
    counts = {**manifest["dropped"], **manifest["changed"]}
    details = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    kept = f"{manifest['rows_in']:,} rows, {manifest['rows_out']:,} after it"
    yield f"{step.kind}: {kept} ({details})" if details else f"{step.kind}: {kept}"
    for sentence in manifest["says"]:
        yield f"  {sentence}"
