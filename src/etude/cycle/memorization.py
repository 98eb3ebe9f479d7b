"""What a finished run remembers of its training rows, measured afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from etude.config import load_run_file
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Show
from etude.cycle.subjects import open_subject
from etude.evaluation.canaries import Exposure, exposures, read_canaries
from etude.evaluation.memorization import Memorization, memorization
from etude.runs.directory import open_run


def memorization_of(
    folder: Path, show: Show, *, rows: int, canaries: Path | None
) -> tuple[Memorization, list[Exposure]]:
    """The run's model on its own training and held-out rows, and on the secrets in a file of canaries.

    Raises:
        RunError: the run has no weights yet.
        DataError: the rows are not there any more, or the file holds no canaries.
    """
    planted = read_canaries(canaries) if canaries is not None else []
    run_file = load_run_file(open_run(folder).run_file)
    subject = open_subject(str(folder))
    prepared = prepare_rows(replace(run_file, output=str(folder)), show, quarantine=None)
    with subject.use() as model, show.progress("continuing rows") as on_progress:
        found = memorization(model, prepared.samples, prepared.heldout, rows=rows, on_progress=on_progress)
        return found, exposures(model, planted) if planted else []
