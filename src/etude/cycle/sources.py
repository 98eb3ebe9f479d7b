"""The policy of a run, and what the loop pulls its steps from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etude.batch import Sample
from etude.config import RunFile
from etude.cycle.online import heldout_look, rollouts_of
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Show
from etude.cycle.subjects import InMemory, open_subject
from etude.data.batches import OfflineBatches
from etude.data.prepare import Prepared
from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.objectives.sft import SFT
from etude.techniques.policy import Policy, attach
from etude.training.source import Look, StepSource, SweepSource
from etude.training.survey import TrainingSurvey


def prepare_policy(run_file: RunFile, show: Show) -> tuple[Policy, OfflineBatches]:
    """The policy and the rows that a run would train, and nothing written."""
    prepared = prepare_rows(run_file, show, quarantine=None)
    model = load(run_file.model, held=run_file.technique.base_held_as)
    return attached(run_file, model, prepared), source_of(run_file, prepared.samples)


def attached(run_file: RunFile, model: LoadedModel, prepared: Prepared) -> Policy:
    """The policy; techniques that choose weights by data see the first training rows."""
    seed, technique = run_file.training.seed, run_file.technique
    source = source_of(run_file, prepared.samples)
    # What an online objective learns from is not written yet: the rows' own answers stand in for it.
    elsewhere = run_file.objective.online or run_file.objective.needs_teacher
    looked_through = SFT() if elsewhere else run_file.objective
    survey = TrainingSurvey(model, technique, source, looked_through, seed=seed)
    teacher = None
    if run_file.objective.needs_teacher:
        teacher = open_subject(str(getattr(run_file.objective, "teacher", "")), known=InMemory(model, technique))
    heads = run_file.objective.needs_values
    return attach(technique, model, seed=seed, survey=survey, value_head=heads, teacher=teacher)


def sources_of(
    run_file: RunFile, policy: Policy, prepared: Prepared, folder: Path | None
) -> tuple[StepSource, SweepSource | Look | None]:
    """What the loop pulls steps from, and what it looks at in between; answers go to the folder before use."""
    if run_file.objective.online:
        rollouts = rollouts_of(run_file, policy, prepared, folder)
        if run_file.rollouts.rewards:
            return rollouts, heldout_look(rollouts, prepared, policy)
        return rollouts, source_of(run_file, prepared.heldout) if prepared.heldout.num_learned() else None
    heldout = source_of(run_file, prepared.heldout) if prepared.heldout else None
    return source_of(run_file, prepared.samples), heldout


def source_of(run_file: RunFile, samples: Sequence[Sample]) -> OfflineBatches:
    """Samples as steps, cut and shared as the run file says, seen as its objective wants them."""
    data = run_file.data
    return OfflineBatches(
        samples=samples, tokens=data.tokens_at_once, share_prefixes=data.share_prefixes, shown=run_file.objective.shown
    )
