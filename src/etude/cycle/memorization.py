"""What a finished run remembers of its training rows, measured afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from etude import durable
from etude.config import load_run_file
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Show
from etude.cycle.subjects import open_subject
from etude.evaluation.canaries import Exposure, exposures, read_canaries
from etude.evaluation.memorization import Memorization, memorization
from etude.pages.report import write_report
from etude.runs import lease
from etude.runs.directory import RunDirectory, open_run


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


def note_memorization(run: RunDirectory, found: Memorization, exposed: Sequence[Exposure]) -> None:
    """Writes it down in the run's folder and onto its page. What the manifest records is hashed again if it was intact.

    Raises:
        RunError: another process is writing there.
    """
    with lease.held(run.path):
        manifest = run.manifest()
        intact = manifest.status == "finished" and not manifest.verify(run.path)
        durable.write_json(
            run.memorization_file, {"memorization": found.as_dict(), "exposures": [asdict(one) for one in exposed]}
        )
        write_report(run.path)
        if intact:
            manifest.finished(run.path).save(run.path)
