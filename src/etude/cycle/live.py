"""The task that a run is asked while it trains, and what makes it the same task when the run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from etude.config import RunFile
from etude.cycle.measure import TaskRows
from etude.cycle.online import asked
from etude.data.prepare import Prepared
from etude.errors import ConfigError
from etude.evaluation.harness import asked as settings_of
from etude.evaluation.harness import check_rows
from etude.evaluation.live import LiveTask, live_on_heldout
from etude.evaluation.tasks import as_task
from etude.models.loaded import LoadedModel


def live_of(
    run_file: RunFile, model: LoadedModel, prepared: Prepared, tasks: Mapping[str, TaskRows]
) -> LiveTask | None:
    """None where the run file names no task for it, or nothing is held out.

    Raises:
        ConfigError: the best weights would be chosen by the rows that the verdict is about; no row can be asked.
        EtudeError: rows that the task cannot use.
    """
    options = run_file.evaluation
    if options.live is None:
        return None
    task = as_task(options.live)
    if options.live_rows == "heldout":
        if not len(prepared.heldout):
            raise ConfigError("no rows were held out", where="evaluation.live", remedy="raise data.holdout")
        rows = [asked(sample, model.tokenizer) for sample in prepared.heldout]
        return live_on_heldout(task, rows, model, items=options.live_items, batch_rows=options.batch_rows)
    rows_sha256 = check_rows(task)
    measured = [name for name, (_, sha256) in tasks.items() if sha256 == rows_sha256]
    if measured and run_file.training.keep_best_by == "score":
        raise ConfigError(
            f"its rows are those of the task {measured[0]!r}: weights chosen by them look better there than they are",
            where="evaluation.live", remedy="evaluation.live_rows: heldout, or a task file of other rows",
        )  # fmt: skip
    return LiveTask(task, options.live_items, options.batch_rows)


def live_identity(run_file: RunFile, live: LiveTask | None) -> dict[str, str]:
    """What the best weights depend on, where the task chooses them: its settings and its rows, hashed."""
    if live is None or run_file.training.keep_best_by != "score":
        return {}
    rows = [[one.id, one.reference] for one in live.questions] if live.metric is not None else check_rows(live.task)
    held = json.dumps([settings_of(live.task), live.items, run_file.evaluation.live_rows, rows], sort_keys=True)
    return {"live task": hashlib.sha256(held.encode()).hexdigest()}
