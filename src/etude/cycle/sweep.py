"""Hyperparameter search over a run file (Optuna: https://arxiv.org/abs/1907.10902), each trial a run of its own.

The study lies beside its runs as one SQLite file: a sweep that was stopped goes on, several processes may share it, and
the prepared rows are read from the cache by all of them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude import durable
from etude.config import RunFile, dump, load_run_file
from etude.cycle.fine_tune import Finished, fine_tune
from etude.cycle.show import Quiet, Show
from etude.errors import ConfigError, DivergedError, EtudeError, Interrupted

if TYPE_CHECKING:
    from optuna import Study, Trial

    from etude.techniques.policy import Policy
    from etude.training.progress import Progress

HELD_OUT = "heldout_loss"
LOGARITHMIC_FROM = 20.0
"""Ranges whose ends are so many times apart are searched by factors."""


class Pruned(EtudeError):
    """A trial that was worse than most at the same point, and was stopped for that."""


@dataclass(frozen=True, slots=True)
class Searched:
    """One setting and the values that it may take: a range, or a list."""

    name: str
    low: float | None = None
    high: float | None = None
    whole: bool = False
    choices: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> Searched:
        """`training.learning_rate=1e-5..1e-2`, `training.batch_rows=8..64` or `technique.rank=8|16|32`.

        Raises:
            ConfigError: neither a range nor a list.
        """
        name, equals, values = text.partition("=")
        if equals and "|" in values:
            return Searched(name, choices=tuple(values.split("|")))
        low, dots, high = values.partition("..")
        try:
            ends = float(low), float(high)
        except ValueError:
            ends = (math.nan, math.nan)
        if not dots or not ends[0] < ends[1]:
            raise ConfigError(
                f"expected name=low..high or name=one|other, got {text!r}", where="sweep", remedy="as in rank=8|16|32"
            )
        whole = all(re.fullmatch(r"-?\d+", end) for end in (low, high))
        return Searched(name, *ends, whole=whole)

    def suggest(self, trial: Trial) -> str:
        """A value for this trial, as it would be written on the command line."""
        if self.choices:
            return str(trial.suggest_categorical(self.name, list(self.choices)))
        assert self.low is not None
        assert self.high is not None
        log = self.low > 0 and self.high / self.low >= LOGARITHMIC_FROM
        if self.whole:
            return str(trial.suggest_int(self.name, int(self.low), int(self.high), log=log))
        return repr(trial.suggest_float(self.name, self.low, self.high, log=log))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeping:
    """What is searched, by which score, and how long."""

    searched: tuple[Searched, ...]
    trials: int = 20
    """In all, those of an earlier call included."""
    score: str = HELD_OUT
    """`heldout_loss` (lower is better), or the name of a task in the run file, by its primary metric."""
    out: Path
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """How the trials went, the best first."""

    trials: tuple[TrialResult, ...]
    run_file: Path
    """The best trial's settings, ready to be trained."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    number: int
    state: str
    score: float | None
    settings: dict[str, str]


def sweep(path: str | Path, overrides: Sequence[str], sweeping: Sweeping, *, show: Show | None = None) -> Swept:
    """Runs trials until there are as many as wanted; the best one's run file is written into the sweep's folder.

    Raises:
        EtudeError: optuna is not installed, a setting that the run file does not know, or no trial that came through.
    """
    show = show or Quiet()
    base = load_run_file(path, overrides)
    _check(base, path, overrides, sweeping)
    durable.make_directory(sweeping.out, exist_ok=True)
    study = _study(sweeping)
    _enqueue_abandoned(study)

    def objective(trial: Trial) -> float:
        settings = [f"{one.name}={one.suggest(trial)}" for one in sweeping.searched]
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("process", os.getpid())
        show.say(f"trial {trial.number}: {' '.join(settings)}")
        try:
            score = _trial(path, [*overrides, *settings], trial, sweeping)
        except Interrupted:
            study.enqueue_trial(trial.params)
            raise
        show.say(f"trial {trial.number}: {sweeping.score} {score:.5g}")
        return score

    while len(_ended(study)) < sweeping.trials:
        study.optimize(objective, n_trials=1)
    return _swept(study, path, overrides, sweeping)


def _check(base: RunFile, path: str | Path, overrides: Sequence[str], sweeping: Sweeping) -> None:
    """Every searched setting and the score must be known before the first trial costs anything."""
    for one in sweeping.searched:
        value = one.choices[0] if one.choices else str(int(one.low) if one.whole and one.low else one.low)
        load_run_file(path, [*overrides, f"{one.name}={value}"])
    if sweeping.score == HELD_OUT:
        if not base.data.holdout:
            raise ConfigError("there are no held-out rows to score by", where="data.holdout", remedy="hold some out")
        return
    from etude.evaluation.tasks import as_task

    names = [as_task(task).name for task in base.evaluation.tasks]
    if sweeping.score not in names:
        known = ", ".join([HELD_OUT, *names])
        raise ConfigError(f"no task is called {sweeping.score!r}", where="--score", remedy=f"known are {known}")


def _study(sweeping: Sweeping) -> Study:
    try:
        import optuna
    except ImportError as error:
        raise EtudeError("a sweep needs optuna", remedy="pip install 'etude[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{sweeping.out / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
    )
    done = sum(1 for _ in sweeping.out.glob("trial-*"))
    return optuna.create_study(
        study_name="sweep",
        storage=storage,
        load_if_exists=True,
        direction="minimize" if sweeping.score == HELD_OUT else "maximize",
        sampler=optuna.samplers.TPESampler(seed=sweeping.seed + done, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=0),
    )


def _enqueue_abandoned(study: Study) -> None:
    """Trials whose process is gone are begun again, with their settings."""
    import optuna

    for trial in study.trials:
        running = trial.state == optuna.trial.TrialState.RUNNING
        if running and not _alive(trial.user_attrs.get("process")):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _alive(process: int | None) -> bool:
    if process is None or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ended(study: Study) -> list[Any]:
    import optuna

    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=ended)


def _trial(path: str | Path, overrides: Sequence[str], trial: Trial, sweeping: Sweeping) -> float:
    """One run; its score."""
    import optuna

    folder = sweeping.out / f"trial-{trial.number:04d}"
    run_file = load_run_file(path, overrides)
    evaluation = replace(run_file.evaluation, base=False, tasks=_only(run_file, sweeping.score))
    training = replace(run_file.training, save_every=0)
    run_file = replace(run_file, evaluation=evaluation, training=training, output=str(folder))

    def judge(progress: Progress, _policy: Policy) -> None:
        if progress.heldout_loss is None or progress.step == progress.num_steps:
            return
        sign = 1.0 if sweeping.score == HELD_OUT else -1.0
        trial.report(sign * progress.heldout_loss, progress.step)
        if trial.should_prune():
            raise Pruned(f"its held-out loss {progress.heldout_loss:.4f} is worse than most at update {progress.step}")

    try:
        finished = fine_tune(run_file, command=("etude", "sweep", str(path)), hooks=[judge])
    except (Pruned, DivergedError) as stopped:
        raise optuna.TrialPruned(str(stopped)) from stopped
    assert finished is not None
    return _score(finished, sweeping.score)


def _only(run_file: RunFile, score: str) -> tuple[str, ...]:
    from etude.evaluation.tasks import as_task

    return tuple(task for task in run_file.evaluation.tasks if as_task(task).name == score)


def _score(finished: Finished, name: str) -> float:
    if name == HELD_OUT:
        assert finished.trained.heldout_loss is not None
        return finished.trained.heldout_loss
    from etude.evaluation.report import Report

    report = Report.load(finished.run.report(name))
    return float(report.summary[report.metric])


def _swept(study: Study, path: str | Path, overrides: Sequence[str], sweeping: Sweeping) -> Swept:
    found = [
        TrialResult(one.number, one.state.name.lower(), one.value, dict(one.params))
        for one in study.trials
        if one.state.is_finished()
    ]
    whole = [one for one in found if one.state == "complete" and one.score is not None]
    if not whole:
        raise EtudeError("no trial came through", where=str(sweeping.out))
    sign = 1.0 if sweeping.score == HELD_OUT else -1.0
    ranked = sorted(found, key=lambda one: (one.state != "complete", sign * (one.score or 0.0)))
    best = study.best_trial.user_attrs["settings"]
    target = sweeping.out / "best.yaml"
    durable.write_text(target, dump(load_run_file(path, [*overrides, *best])))
    return Swept(tuple(ranked), target)
