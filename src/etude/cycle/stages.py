"""What several stages came to together: how the model answered before the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etude.config import RunFile
from etude.cycle.online import HeldoutReward, rewarded_answers
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Show
from etude.cycle.sources import sources_of
from etude.evaluation.report import Report
from etude.models.load import load
from etude.pages.stages import BEFORE, whole_report
from etude.runs.directory import is_run
from etude.techniques.policy import Policy


def before_all_stages(stages: Sequence[RunFile], folder: Path, show: Show) -> Report | None:
    """The first model's likeliest answers to the prompts that the last stage held out, rewarded as that stage does.

    Kept in the folder, and not made again. None where no stage was rewarded for answers to held-out prompts, or that
    stage itself started from the first model.
    """
    place = folder / BEFORE
    rewarded = [stage for stage in stages if stage.objective.online and stage.rollouts.rewards and stage.data.holdout]
    if not rewarded or not is_run(Path(rewarded[-1].model.name)):
        return None
    known = whole_report(place)
    if known is not None:
        return known
    last, first = rewarded[-1], stages[0].model
    show.say(f"asking {first.name}, as it was before all stages")
    model = load(first)
    prepared = prepare_rows(last, show, quarantine=None)
    _, heldout = sources_of(last, Policy(model, last.technique, {}), prepared, None)
    assert isinstance(heldout, HeldoutReward)
    report = rewarded_answers(heldout, model.name)
    report.save(place)
    return report
