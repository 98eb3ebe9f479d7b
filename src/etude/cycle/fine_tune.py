"""From a run file to a finished run, on one page: prepare, measure the base, train, measure again, compare, report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from etude import durable
from etude.comparison.gap import Gap
from etude.comparison.gates import GateResult, refuse_unknown
from etude.comparison.verdict import Verdict, save_verdicts
from etude.config import RunFile, dump
from etude.cycle.after import gap_of
from etude.cycle.alarms import Alarms
from etude.cycle.before import look_before
from etude.cycle.foresee import Foreseen, foresee
from etude.cycle.gates import compared, own_tasks
from etude.cycle.heldout_pairs import measured_with_pairs, pairs_to_measure
from etude.cycle.live import live_identity, live_of
from etude.cycle.measure import Measuring, tasks_of
from etude.cycle.online import HeldoutReward, measured_reward
from etude.cycle.retention import Retaining, probes_of
from etude.cycle.rows import prepare_rows
from etude.cycle.same import identity, refuse_changes
from etude.cycle.show import Quiet, Show, lines_about
from etude.cycle.sources import attached, sources_of
from etude.cycle.subjects import make_ready
from etude.data.prepare import Prepared
from etude.errors import EtudeError, Interrupted, Problems, StorageError
from etude.evaluation.live import LiveTask
from etude.evaluation.tasks import Task
from etude.exporting.targets import obstacles
from etude.models.load import load, precision_name
from etude.models.loaded import LoadedModel
from etude.models.machine import forget_peak, peak_memory
from etude.pages.report import write_report
from etude.runs.directory import RunDirectory, claim
from etude.runs.lease import Lease
from etude.runs.manifest import BaseModel, Cost, DataSource, Manifest, Status, installed_versions, new_run_id, utc_now
from etude.techniques.policy import Policy
from etude.training.loop import Trained, train
from etude.training.outward import outward_log
from etude.training.profile import Profile
from etude.training.progress import Hook, Progress
from etude.training.ranks import Ranks
from etude.training.saving import Place
from etude.training.signals import stop_requests_interrupt
from etude.training.source import Look, StepSource, SweepSource

RESUME = "the same command with --resume"
RANKS_WAIT_SECONDS = 6 * 3600.0
"""How long other ranks wait for the main one, which measures the base model alone."""


@dataclass(frozen=True)
class Finished:
    """What a finished run holds, for whoever wants more than its folder."""

    run: RunDirectory
    trained: Trained
    verdicts: tuple[Verdict, ...]
    gap: Gap | None
    gates: tuple[GateResult, ...]
    seconds: Mapping[str, float]
    profile: tuple[str, ...] = ()
    """The main lines of `profile.txt`, where one was asked for."""


@dataclass
class _Work:
    """One run on its way through the phases."""

    run_file: RunFile
    run: RunDirectory
    lease: Lease
    show: Show
    ranks: Ranks
    command: tuple[str, ...]
    resume: bool
    profile: Profile | None
    made: tuple[Path, ...]
    """Folders that this run made, the innermost first."""
    hooks: tuple[Hook, ...] = ()
    alarms: Alarms = field(default_factory=lambda: Alarms(lambda _: None, "float32"))
    seconds: dict[str, float] = field(default_factory=dict)
    doing: str = "begin"
    """The phase."""
    begun: bool = False
    """Whether the run's files are this process's."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Its duration goes into the manifest."""
        started, self.doing = time.monotonic(), name
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 3)


def fine_tune(
    run_file: RunFile,
    *,
    command: Sequence[str] = (),
    resume: bool = False,
    profile: bool = False,
    show: Show | None = None,
    ranks: Ranks | None = None,
    hooks: Sequence[Hook] = (),
) -> Finished | None:
    """One run: everything that `run_file` says, written to its output folder. None on other ranks than the main one.

    With `profile`, some steady updates are recorded into `profile.txt`; the run stays as it is. `hooks` see updates.

    Raises:
        EtudeError: anything the user can mend; the run's folder says how far it got.
        Interrupted: a signal asked to stop; `resume=True` goes on.
        KeyboardInterrupt: a signal came before there was anything to go on with; no folder is left.
    """
    show = show or Quiet()
    run_file = replace(run_file, model=replace(run_file.model, precision=precision_name(run_file.model.precision)))
    joined = ranks or Ranks.start(timeout_seconds=RANKS_WAIT_SECONDS)
    if not joined.is_main:
        try:
            _follow(run_file, joined, resume=resume)
        finally:
            if ranks is None:
                joined.stop()
        return None
    made = _missing(Path(run_file.output))
    try:
        run, lease = claim(run_file.output, resume=resume)
    except EtudeError:
        _remove_empty(made)
        raise
    recorder = Profile(run.path) if profile else None
    alarms = Alarms(show.say, run_file.model.precision, updates_each=run_file.rollouts.updates)
    work = _Work(run_file, run, lease, show, joined, tuple(command), resume, recorder, made, tuple(hooks), alarms)
    try:
        with stop_requests_interrupt():
            return _lead(work)
    except Interrupted:
        _end(work, "interrupted")
        raise
    except KeyboardInterrupt:
        _end(work, "interrupted")
        if not work.begun:
            raise
        raise Interrupted(f"stopped during the phase {work.doing!r}; go on with: {RESUME}") from None
    except EtudeError:
        _end(work, "failed")
        raise
    finally:
        lease.release()
        if ranks is None:
            joined.stop()


def _missing(folder: Path) -> tuple[Path, ...]:
    """The folder and those around it that are not there yet, the innermost first."""
    return tuple(place for place in (folder, *folder.parents) if not place.exists())


def _end(work: _Work, status: Status) -> None:
    """Notes how the run ended, or removes the folders that were made for nothing."""
    if work.begun:
        manifest = work.run.manifest()
        with suppress(StorageError):  # why the run ended is what counts
            replace(manifest, status=status, timings={**manifest.timings, **work.seconds}).save(work.run.path)
        return
    work.lease.release()
    if not work.resume:
        with suppress(StorageError):
            for path in work.run.path.glob(".lease-*"):
                durable.remove(path)
    _remove_empty(work.made)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # others may have put something there
            folder.rmdir()


def _lead(work: _Work) -> Finished:
    run_file, run, show = work.run_file, work.run, work.show
    measuring = Measuring(run, run_file.evaluation, show, work.resume)
    with work.phase("start"):
        parent = make_ready(run_file.model)
    with work.phase("prepare"):
        tasks, retaining = tasks_of(run_file), Retaining(measuring, probes_of(run_file))
        prepared = _prepared(work, [task for task, _ in tasks.values()])
        pairs = pairs_to_measure(run_file, prepared, [task for task, _ in tasks.values()])
        refuse_unknown(run_file.gates, [*tasks, *own_tasks(run_file, pairs, retaining.probes)])
    with work.phase("foresee"):
        foreseen = _foreseen(run_file, prepared, show)
    with work.phase("load"):
        show.say(f"loading {run_file.model.name} ({run_file.model.precision})")
        model = load(run_file.model, held=run_file.technique.base_held_as)
        live = live_of(run_file, model, prepared, tasks)
    manifest = _begin(work, prepared, model, foreseen, parent)
    with work.phase("measure base"):
        before = measured_with_pairs(measuring, model, tasks, pairs, base=True) if run_file.evaluation.base else {}
        retaining.measure_before(model)
    with work.phase("attach"):
        policy = attached(run_file, model, prepared)
        source, heldout = sources_of(run_file, policy, prepared, run.path)
    if isinstance(heldout, HeldoutReward):
        with work.phase("measure base's reward"):
            before["reward"] = measured_reward(heldout, run, model.name, base=True, known=work.resume)
    show.say(f"{policy.num_trainable:,} weights learn ({policy.num_trainable / policy.num_weights:.2%})")
    forget_peak()
    with work.phase("train"):
        trained = _train(work, policy, (source, heldout), live, manifest)
    actual = Cost(peak_memory(), work.seconds["train"])
    weights = run.path / policy.technique.saved_as
    policy.save(weights)
    policy.load(weights)  # what was saved is what is measured
    with work.phase("measure tuned"):
        after = measured_with_pairs(measuring, policy, tasks, pairs, base=False)
        retaining.measure_after(policy, prepared)
        if isinstance(heldout, HeldoutReward):
            after["reward"] = measured_reward(heldout, run, policy.name, base=False, beside=before["reward"])
    with work.phase("measure gap"):
        gap = None if run_file.objective.online else gap_of(policy, prepared, run_file.objective, show)
    verdicts, gates = compared(run_file, run, before, after, retaining.both, training_seconds=work.seconds["train"])
    save_verdicts(run.verdict_file, verdicts, gap, gates)
    manifest = _noted(work, manifest, trained, actual)
    manifest.save(run.path)
    if foreseen is not None and not work.resume and trained.stopped_early is None:
        foreseen.learn_speed(run_file.model.precision, work.seconds["train"])
    write_report(run.path, status="finished")
    manifest.finished(run.path).save(run.path)
    _index(run, show)
    lines = work.profile.lines if work.profile else ()
    return Finished(run, trained, verdicts, gap, gates, dict(work.seconds), lines)


def _prepared(work: _Work, tasks: Sequence[Task]) -> Prepared:
    """The rows, looked through before anything is learned from them."""
    run_file, run, show = work.run_file, work.run, work.show
    durable.remove(_quarantine(run_file))  # of an earlier try
    for folder in (run.reports, run.adapter, run.model, run.plots):
        durable.sweep(folder)  # what a try that was killed left half-written
    prepared = prepare_rows(run_file, show, quarantine=_quarantine(run_file))
    work.alarms.rang += look_before(run_file, prepared, tasks, show, resumed=work.resume)
    return prepared


def _foreseen(run_file: RunFile, prepared: Prepared, show: Show) -> Foreseen | None:
    """What the run will take; None where that cannot be said.

    Raises:
        Problems: the result could not be served where the run file says.
        EtudeError: it cannot fit into memory.
    """
    try:
        found = foresee(run_file, prepared)
    except EtudeError as error:
        show.say(f"note: what this takes is not foreseen ({error})")
        return None
    in_the_way = obstacles(run_file.target, run_file.technique, found.config)
    if refused := [EtudeError(one.says, where=one.setting) for one in in_the_way if one.refused]:
        raise Problems(f"target {run_file.target}", refused)
    for one in in_the_way:
        show.say(f"note: {one.setting}: {one.says}")
    show.say(f"about {found.memory.peak / 1e9:.1f} GB of memory at the peak, {found.room / 1e9:.1f} GB are free")
    if run_file.planning.check_memory:
        found.refuse()
    return found


def _noted(work: _Work, manifest: Manifest, trained: Trained, actual: Cost) -> Manifest:
    """With what training took, and what was odd about it."""
    notes = list(work.alarms.rang)
    if trained.stopped_early is not None:
        notes.append(f"stopped after update {trained.steps}: {trained.stopped_early}")
        work.show.say(notes[-1])
    taken = {"timings": dict(work.seconds), "most_tokens": trained.most_tokens, "actual": actual}
    return replace(manifest, notes=tuple(notes), **taken)  # type: ignore[arg-type]  # fields by name


def _quarantine(run_file: RunFile) -> Path:
    """Unusable rows wait beside the run's folder until the run begins, so that a refused data set leaves no run."""
    return Path(f"{run_file.output}.quarantine.jsonl")


def _begin(
    work: _Work, prepared: Prepared, model: LoadedModel, foreseen: Foreseen | None, parent: str | None
) -> Manifest:
    """Writes down what this run is made of, or finds that a resumed run is still made of the same."""
    run, run_file = work.run, work.run_file
    manifest = Manifest(
        run_id=run.manifest().run_id if work.resume else new_run_id(),
        created=run.manifest().created if work.resume else utc_now(),
        status="running",
        etude_version=version("etude"),
        versions=installed_versions(),
        base=BaseModel(name=model.name, hash=model.base_hash),
        data=DataSource(prepared.summary.sha256, prepared.summary.source, tuple(prepared.summary.steps)),
        template_sha256=prepared.summary.template_sha256,
        config_sha256=hashlib.sha256(dump(replace(run_file, output="")).encode()).hexdigest(),
        seed=run_file.training.seed,
        parent=parent,
        command=work.command,
        expected=foreseen.cost(run_file.model.precision) if foreseen else None,
        price_per_hour=run_file.planning.price_per_hour,
    )
    if work.resume:
        refuse_changes(run, manifest, run_file)
    manifest.save(run.path)
    work.begun = True
    durable.write_text(run.run_file, dump(run_file))
    durable.write_json(run.data_file, prepared.summary.as_dict())
    if _quarantine(run_file).exists():
        durable.replace(_quarantine(run_file), run.quarantine_file)
    return manifest


def _train(
    work: _Work,
    policy: Policy,
    sources: tuple[StepSource, SweepSource | Look | None],
    live: LiveTask | None,
    manifest: Manifest,
) -> Trained:
    run_file, run = work.run_file, work.run
    source, heldout = sources
    durable.require_space(run.path, _bytes_needed(policy, run_file.training.keep_checkpoints))
    outward = outward_log(run_file.logging, run.path, run_id=manifest.run_id)
    place = Place(
        folder=run.path,
        run_id=manifest.run_id,
        identity=identity(run_file, manifest) | live_identity(run_file, live),
        fence=work.lease.check,
        resume=work.resume,
        resume_with=RESUME,
        say=work.show.say,
    )
    with work.show.progress("training") as on_progress, outward, work.profile or nullcontext():

        def tell(progress: Progress, _policy: Policy) -> None:
            on_progress(progress.step, progress.num_steps)
            for line in lines_about(progress):
                work.show.say(line)

        hooks: list[Hook] = [tell, work.alarms, outward, *([work.profile] if work.profile else []), *work.hooks]
        return train(
            policy,
            source,
            run_file.objective,
            options=run_file.training,
            heldout=heldout,
            scorer=live,
            hooks=hooks,
            place=place,
            ranks=work.ranks,
        )


def _follow(run_file: RunFile, ranks: Ranks, *, resume: bool) -> None:
    """Another rank than the main one: the same data and weights, its share of each step, nothing written."""
    prepared = prepare_rows(run_file, Quiet(), quarantine=None)
    model = load(run_file.model, held=run_file.technique.base_held_as)
    live = live_of(run_file, model, prepared, tasks_of(run_file))
    policy = attached(run_file, model, prepared)
    source, heldout = sources_of(run_file, policy, prepared, None)
    train(
        policy,
        source,
        run_file.objective,
        options=run_file.training,
        heldout=heldout,
        scorer=live,
        place=Place(folder=Path(run_file.output), run_id="", resume=resume),
        ranks=ranks,
    )


def _bytes_needed(policy: Policy, keep: int) -> int:
    """Weights, float32 moments and the best weights, for each checkpoint kept and the one being written."""
    each = sum(p.numel() * (2 * p.element_size() + 12) for p in policy.trainable.values())
    return (keep + 1) * each


def _index(run: RunDirectory, show: Show) -> None:
    from etude.runs.store import Store  # a data base is not needed to begin

    store = Store.open()
    try:
        store.record(run.path)
        if store.note is not None:
            show.say(f"note: {store.note}")
    finally:
        store.close()
