"""The one training loop: pull a step, sum its losses, divide once, guard, update, tell the hooks.

It knows objectives, techniques and data only by their contracts, so each new one of them trains, resumes, runs on
several ranks and stops early without a line here.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from etude import faults
from etude.batch import Batch, Step
from etude.errors import ConfigError, DataError, Interrupted
from etude.models.loaded import LoadedModel
from etude.objectives.base import Objective
from etude.techniques.policy import Before, Policy
from etude.training.guard import Guard
from etude.training.heldout import Best, heldout_loss
from etude.training.live import Live, Scorer, score_together
from etude.training.memory import Room, Smaller, explained
from etude.training.optimizer import MasterAdamW
from etude.training.options import TrainOptions
from etude.training.phases import phase
from etude.training.progress import Hook, Progress, StopEarly
from etude.training.ranks import Ranks
from etude.training.saving import Place, Saver
from etude.training.schedule import learning_rate
from etude.training.scores import scores_of
from etude.training.signals import StopRequests, stop_requests
from etude.training.source import Look, StepSource, SweepSource, Telling

LOOKS_PER_RUN = 10
SAVES_PER_RUN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training left: the policy with its best (or last) weights, and how it went."""

    policy: Policy
    steps: int
    """Updates done."""
    loss: float
    """Mean of the last updates' losses."""
    heldout_loss: float | None
    """Of the weights handed back."""
    heldout_score: float | None
    """Theirs in the task that was asked during training."""
    best_step: int | None
    stopped_early: str | None
    most_tokens: int | None
    """What memory held in one pass, where that was less than the source would have taken."""

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def base(self) -> Before:
        """The model before training."""
        return self.policy.base

    def use(self) -> AbstractContextManager[LoadedModel]:
        return self.policy.use()


def train(
    policy: Policy,
    source: StepSource,
    objective: Objective,
    *,
    options: TrainOptions | None = None,
    heldout: SweepSource | Look | None = None,
    scorer: Scorer | None = None,
    hooks: Sequence[Hook] = (),
    place: Place | None = None,
    ranks: Ranks | None = None,
) -> Trained:
    """Trains the policy in place and hands it back, with its best weights where held-out samples tell which they are.

    Without `place` nothing is written. `scorer` asks a task before the first update and whenever held-out samples are
    looked at. Deterministic given the options, the source and the number of threads.

    Raises:
        ConfigError: options that contradict each other.
        DataError: a step without anything to learn.
        DivergedError: too many updates in a row were not finite.
        EtudeError: memory ran out on a single sample.
        Interrupted: a signal asked to stop; with a `place`, a checkpoint was left.
        CheckpointError: a resume for which no usable checkpoint exists.
    """
    options = options or TrainOptions()
    problems = options.problems()
    if problems:
        raise ConfigError(problems[0][1], where=f"training.{problems[0][0]}")
    if options.keep_best_by == "score" and (scorer is None or heldout is None):
        raise ConfigError("no task is asked during training", where="training.keep_best_by")
    run = _Run(policy, source, objective, options, heldout, scorer, tuple(hooks), ranks or Ranks())
    saver = Saver(place, run.ranks, keep=options.keep_checkpoints) if place is not None else None
    if run.ranks.world > 1:
        run.ranks.agree({name: p.detach() for name, p in policy.trainable.items()}, what="starting weights")
    if saver is not None:
        run.step = saver.resume(run.optimizer, run.guard, run.best, run.room)
        policy.settle()
    with stop_requests("stopping after this update (again: at once)") as stop:
        run.go(saver, stop)
    return run.result()


def seed_of_update(seed: int, update: int, rank: int) -> None:
    """Dropout depends on (seed, update, rank) alone, so that a resumed run needs no stored random state."""
    torch.manual_seed(int(np.random.SeedSequence([seed, update, rank]).generate_state(1, np.uint64)[0] >> 1))


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        policy: Policy,
        source: StepSource,
        objective: Objective,
        options: TrainOptions,
        heldout: SweepSource | Look | None,
        scorer: Scorer | None,
        hooks: tuple[Hook, ...],
        ranks: Ranks,
    ) -> None:
        self.policy, self.source, self.objective, self.options = policy, source, objective, options
        self.heldout, self.scorer, self.hooks, self.ranks = heldout, scorer, hooks, ranks
        self.total_samples = (
            options.steps * options.batch_rows
            if options.steps is not None
            else max(1, round((1.0 if options.epochs is None else options.epochs) * source.num_samples))
        )
        self.num_steps = math.ceil(self.total_samples / options.batch_rows)
        self.look_every = options.heldout_every or max(1, math.ceil(self.num_steps / LOOKS_PER_RUN))
        automatic = max(1, math.ceil(self.num_steps / SAVES_PER_RUN))
        self.save_every = automatic if options.save_every is None else options.save_every
        self.optimizer = MasterAdamW(policy.trainable, options, rates=policy.rates)
        self.guard = Guard()
        self.best = Best(keep=options.keep_best, by=options.keep_best_by)
        self.room = Room()
        self.last_look: float | None = None
        self.last_score: float | None = None
        self.step = 0
        self.stopped_early: str | None = None

    def go(self, saver: Saver | None, stop: StopRequests) -> None:
        """All updates from `self.step` on."""
        if self._patience_is_over():  # the checkpoint was made just before an early stop
            return
        self._look_before(saver)
        for step, progress in self._updates():
            self.step = progress.step
            if self._time_to_look():
                progress = self._look(progress)
            progress = replace(progress, memory=self.room.tell())
            if saver is not None:
                with phase("saving"):
                    saver.write_down(progress, step.sample_ids)
            for hook in self.hooks:
                try:
                    hook(progress, self.policy)
                except StopEarly as reason:
                    self.stopped_early = str(reason)
            faults.point("loop.after_update")
            stopping = self.ranks.any(stop.requested is not None)
            if saver is not None and (stopping or self._time_to_save()):
                with phase("saving"):
                    saver.save(self.step, self.optimizer, self.guard, self.best, self.room)
            if stopping and self.step < self.num_steps:
                self._interrupt(saver, stop)
            if self.stopped_early is not None or self._patience_is_over():
                break

    def _updates(self) -> Iterator[tuple[Step, Progress]]:
        """Each step and what its update came to; a step that found no room in memory is pulled again, cut finer."""
        steps, started = self._steps(), time.perf_counter()
        while (step := self._pulled(steps)) is not None:
            try:
                progress = self._update(step, started)
            except Smaller:
                self.optimizer.clear()
                steps = self._steps()
                continue
            yield step, progress
            started = time.perf_counter()

    @staticmethod
    def _pulled(steps: Iterator[Step]) -> Step | None:
        with phase("packing"):
            return next(steps, None)

    def _steps(self) -> Iterator[Step]:
        steps = self.source.steps(
            batch_rows=self.options.batch_rows,
            seed=self.options.seed,
            first=self.step,
            total_samples=self.total_samples,
            share=self.ranks.share,
            num_ranks=self.ranks.world,
            most_tokens=self.room.most_tokens,
        )
        return itertools.islice(steps, self.num_steps - self.step)

    def _update(self, step: Step, started: float) -> Progress:
        """One optimizer update: all micro-batches' sums, divided once by the count of the whole step on all ranks.

        Raises:
            Smaller: nothing was changed but gradients.
        """
        number = self.step + 1
        batches = [batch.to(self.policy.model.module.device) for batch in step.batches]
        count = self.ranks.sum(float(sum(self.objective.count(batch) for batch in batches)))
        if not count > 0:
            raise DataError("0 trainable tokens in this step", where=f"update {number}: {step.sample_ids[0]}, …")
        figures = self._backward(batches, count, number)
        mean_loss = figures.pop("loss")
        if faults.point("loop.nan_loss"):
            mean_loss = math.nan
        with phase("optimizer"):
            norm = float(self.optimizer.gradient_norm())
        rate = learning_rate(self.step, self.num_steps, self.options)
        skipped, warning = self.guard.judge(mean_loss, norm, step=number, sample_ids=step.sample_ids)
        if skipped is None and norm == 0:
            skipped = "its gradient is 0: there was nothing to learn from"
        if isinstance(self.source, Telling):
            figures |= self.source.figures
        if skipped is None:
            clip = self.options.clip_norm
            scale = clip / norm if 0 < clip < norm else 1.0
            with explained("in the optimizer"), phase("optimizer"):
                self.optimizer.step(learning_rate=rate, gradient_scale=scale)
                self.policy.settle()
        else:
            self.optimizer.clear()
        return Progress(
            step=number,
            num_steps=self.num_steps,
            epoch=step.epoch,
            loss=mean_loss,
            learning_rate=rate,
            grad_norm=norm,
            rows=len(step.sample_ids),
            tokens=self.ranks.sum(sum(batch.num_row_tokens for batch in batches)),
            tokens_computed=self.ranks.sum(sum(len(batch.tokens_T) for batch in batches)),
            micro_batches=self.ranks.sum(len(batches)),
            seconds=time.perf_counter() - started,
            skipped=skipped,
            warning=warning,
            figures=figures,
            is_main=self.ranks.is_main,
        )

    def _backward(self, batches: Sequence[Batch], count: float, number: int) -> dict[str, float]:
        """Gradients of the step's mean loss, summed over micro-batches and ranks; the loss and further figures."""
        sums: dict[str, Tensor] = {"loss": torch.zeros(())}

        def add(batch: Batch) -> None:
            with phase("forward"):
                loss = self.objective.loss(batch, scores_of(self.policy, batch, self.objective))
            with phase("backward"):
                torch.autograd.backward(loss.total / count)
            faults.demand("loop.pass", len(batch.tokens_T))
            faults.point("loop.mid_accumulation")
            for name, value in {"loss": loss.total, **loss.sums}.items():
                sums[name] = sums.get(name, torch.zeros(())) + value.detach().float()  # no wait for a GPU

        seed_of_update(self.options.seed, number, self.ranks.rank)
        with self.policy.technique.learning(self.policy.model):
            self.room.passes(batches, add, self.ranks, update=number)
        if self.ranks.world > 1:
            with phase("gradients over ranks"):
                self.ranks.sum_gradients(self.policy.trainable.values())
        totals = self.ranks.sum_named({name: float(value) for name, value in sums.items()})
        return {name: total / count for name, total in totals.items()}

    def _time_to_look(self) -> bool:
        return self.heldout is not None and (self.step % self.look_every == 0 or self.step == self.num_steps)

    def _time_to_save(self) -> bool:
        return self.save_every > 0 and (self.step % self.save_every == 0 or self.step == self.num_steps)

    def _patience_is_over(self) -> bool:
        patience = self.options.patience
        if patience is None or self.best.looks_since < patience or self.step >= self.num_steps:
            return False
        by = self.options.keep_best_by
        self.stopped_early = f"no better held-out {by} in {patience} looks since update {self.best.step}"
        return True

    def _look(self, progress: Progress) -> Progress:
        loss, figures, live = self._looked()
        score = None if live is None else live.score
        self.best.look(loss, self.step, self.policy.trainable, score=score)
        self.last_look, self.last_score = loss, score
        return replace(progress, heldout_loss=loss, heldout_figures=figures, live=live)

    def _look_before(self, saver: Saver | None) -> None:
        """Where the curves of loss and score begin; weights that have learned nothing are never the best ones."""
        if self.step > 0 or self.scorer is None or self.heldout is None:
            return
        loss, figures, live = self._looked()
        if saver is not None and self.ranks.is_main:
            saver.journal.heldout(0, loss, figures, live)

    def _looked(self) -> tuple[float, Mapping[str, float], Live | None]:
        assert self.heldout is not None
        with phase("held-out look"):
            if isinstance(self.heldout, Look):
                loss, figures = self.heldout.look()
            else:
                loss, figures = heldout_loss(
                    self.policy, self.heldout, self.objective, self.ranks, room=self.room, update=self.step
                )
            live = None if self.scorer is None else score_together(self.scorer, self.policy, self.ranks)
        return loss, figures, live

    def _interrupt(self, saver: Saver | None, stop: StopRequests) -> None:
        by = stop.requested.name if stop.requested is not None else "another rank"
        left = saver.what_is_left() if saver is not None else "nothing was saved: this run has no folder"
        raise Interrupted(f"stopped by {by} after update {self.step} of {self.num_steps}; {left}")

    def result(self) -> Trained:
        """Puts the best weights in place, if they are kept, and sums up."""
        last = self.guard.losses[-max(1, min(10, len(self.guard.losses))) :]
        if self.best.keep:
            self.best.hand_back(self.policy.trainable)
            self.policy.settle()
        return Trained(
            policy=self.policy,
            steps=self.step,
            loss=sum(last) / len(last) if last else math.nan,
            heldout_loss=self.best.loss if self.best.keep else self.last_look,
            heldout_score=self.best.score if self.best.keep else self.last_score,
            best_step=self.best.step if self.best.loss is not None else None,
            stopped_early=self.stopped_early,
            most_tokens=self.room.most_tokens,
        )
