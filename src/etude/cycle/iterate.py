"""Train, evaluate, explain, propose, add, and again: a run improved where it fails, and judged on items kept apart.

The task's items are divided once. The steering part says where the model fails and which iteration is the best; the
final part decides nothing before the end, where it says what all of it was worth. Everything lies in one folder, each
file whole or absent, so the same command goes on wherever it was stopped:

    plan.json                    what is iterated; another plan is refused
    steering.jsonl final.jsonl   the two parts of the task's items
    train-K.jsonl                the rows of iteration K; train-0 are the given ones
    iteration-K/                 its run
    reports/                     its answers on both parts
    explanation-K.json .html     where it fails
    made-K-N.jsonl               what a model wrote for one part, with what was left out and a manifest beside it
    items.jsonl                  what all items ask, so that nothing like them is written
    proposal-K.jsonl             rows to add before iteration K; edit it before saying yes
    accepted-K.json              the yes
    record-K.json                its scores
    iterations.html .png         the chart
    verdict.json best.yaml       the end: the best iteration against the first, and its run file
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude import durable
from etude.comparison.verdict import Verdict, compare, save_verdicts
from etude.config import RunFile, dump, load_run_file
from etude.cycle.asking import Drawing, open_writer
from etude.cycle.explaining import explain_report
from etude.cycle.fine_tune import fine_tune
from etude.cycle.halves import Halves, halves_of
from etude.cycle.iteration_limits import IterateOptions, budget_left, limit_reached
from etude.cycle.proposing import Proposal, Sources, propose, read_proposal, write_proposal
from etude.cycle.show import Show
from etude.cycle.steps import do_steps
from etude.cycle.subjects import open_subject
from etude.data.audit.vectors import Embed
from etude.data.decontaminate import items_of
from etude.data.inputs import Reading, open_inputs
from etude.data.read import content_of, read
from etude.data.synthesis.asking import Asked
from etude.data.write import columns_for
from etude.diagnosis.explanation import Explanation, load_explanation
from etude.diagnosis.iterations import IterationRecord, best_of
from etude.diagnosis.options import ExplainOptions
from etude.errors import ConfigError, Problems
from etude.evaluation.harness import evaluate
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task, load_task
from etude.pages.explanation import write_explanation
from etude.pages.iterations import write_iterations
from etude.records import Conversation
from etude.runs.directory import RunDirectory, is_run

Accept = Callable[[Path, Proposal], bool | None]
"""Whether the rows in the file may be added; None: nobody is there to say."""


@dataclass(frozen=True)
class Iterated:
    """How it went."""

    records: tuple[IterationRecord, ...]
    ended: str
    """Why there are no more."""
    page: Path
    waits: bool = False
    """Whether a proposal lies there that nobody has said yes to; nothing is final then."""
    best: int = 0
    """The iteration with the best steering score."""
    verdict: Verdict | None = None
    """The best against the first, on the final part; None where the first is the best."""


@dataclass
class _Work:
    given: RunFile
    """As the user wrote it."""
    run_file: RunFile
    """Of every iteration, but for its rows and its folder."""
    options: IterateOptions
    out: Path
    show: Show
    accept: Accept
    embed: Embed | None
    command: Sequence[str]
    halves: Halves

    def train(self, number: int) -> Path:
        return self.out / f"train-{number}.jsonl"

    def run(self, number: int) -> RunDirectory:
        return RunDirectory(self.out / f"iteration-{number}")

    def report(self, number: int, task: Task) -> Path:
        return self.out / "reports" / f"{task.name}-{number}.jsonl"

    def explanation(self, number: int) -> Path:
        return self.out / f"explanation-{number}.json"

    def proposal(self, number: int) -> Path:
        return self.out / f"proposal-{number}.jsonl"

    def accepted(self, number: int) -> Path:
        return self.out / f"accepted-{number}.json"

    def record(self, number: int) -> Path:
        return self.out / f"record-{number}.json"


def iterate(
    path: str | Path,
    overrides: Sequence[str],
    options: IterateOptions,
    *,
    out: Path | None,
    show: Show,
    accept: Accept,
    embed: Embed | None = None,
    command: Sequence[str] = (),
) -> Iterated:
    """Improves a run until nothing is worse, nothing can be added, a limit is reached, or the person says no.

    Raises:
        EtudeError: what the user can mend; Interrupted: asked to stop, the same command goes on.
    """
    run_file = load_run_file(path, overrides)
    if wrong := options.problems():
        raise Problems("iterate", [f"{name}: {what}" for name, what in wrong])
    task = _task(run_file, options)
    folder = (out or Path(f"{run_file.output}.iterations")).absolute()
    durable.make_directory(folder / "reports", exist_ok=True)
    _same_plan(folder, run_file, options, task)
    halves = halves_of(task, folder, final_share=options.final_share, seed=options.seed)
    show.say(f"{halves.items[0]:,} items steer, {halves.items[1]:,} are kept for the end")
    work = _Work(run_file, _prepared(run_file, folder, show), options, folder, show, accept, embed, command, halves)
    records: list[IterationRecord] = []
    while True:
        records.append(_iteration(work, len(records)))
        page = write_iterations(records, folder, task=task.name)
        ended = _next(work, records)
        if ended is not None:
            break
    if ended == WAITS:
        return Iterated(tuple(records), ended, page, waits=True)
    return _concluded(work, tuple(records), ended, task.name)


WAITS = "a proposal waits for a yes"


def _task(run_file: RunFile, options: IterateOptions) -> Task:
    """The task to steer by. Raises ConfigError: none, no such one, or an objective that does not imitate rows."""
    if Conversation not in run_file.objective.learns_from or run_file.objective.online:
        raise ConfigError("rows to imitate are what is added; this objective learns from others", where="objective")
    if run_file.evaluation.live is not None and run_file.evaluation.live_rows == "task":
        raise ConfigError(
            "would look at items that are kept for the end", where="evaluation.live_rows", remedy="set it to heldout"
        )
    known = {task.name: task for task in map(load_task, run_file.evaluation.tasks)}
    if not known:
        raise ConfigError("there is no task to steer by", where="evaluation.tasks", remedy="name a task file")
    name = options.task or next(iter(known))
    if name not in known:
        raise ConfigError(f"no task is called {name!r}", where="--task", remedy=f"known are {', '.join(known)}")
    return known[name]


def _same_plan(folder: Path, run_file: RunFile, options: IterateOptions, task: Task) -> None:
    """Notes what is iterated, or finds that it is still the same; limits may change.

    Raises:
        Problems: what has changed.
    """
    sources = {"train": run_file.data.train, "task": task.data, "pool": options.pool}
    plan = {
        "run_file": hashlib.sha256(dump(replace(run_file, output="")).encode()).hexdigest(),
        **{name: None if source is None else _digest(source) for name, source in sources.items()},
        "steered_by": task.name,
        **{name: getattr(options, name) for name in ("model", "final_share", "false_alarms", "seed")},
    }
    path = folder / "plan.json"
    if not path.exists():
        durable.write_json(path, plan)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := [name for name in plan if plan[name] != before.get(name)]:
        raise Problems(
            f"{folder} was begun with something else",
            [*(f"{name} has changed" for name in changed), "put it back, or name another folder with --out"],
        )


def _digest(source: str) -> str:
    content = content_of(source)
    return source if content is None else content.sha256


def _prepared(run_file: RunFile, folder: Path, show: Show) -> RunFile:
    """The run file of every iteration: rows after all steps as messages, which can be added to; measured here alone."""
    data = do_steps(run_file.data, show).data
    named = {"train": folder / "train-0.jsonl"}
    if isinstance(data.holdout, str):
        named["holdout"] = folder / "heldout.jsonl"
    for name, target in named.items():
        if not target.exists():
            records = read(
                str(getattr(data, name)), (Conversation,), format=data.format, columns=data.columns,
                system=data.system, max_bad_share=data.max_bad_share, streams=True,
            )  # fmt: skip
            durable.write_text(target, "".join(_line(columns_for(record)) for record in records))
    holdout = str(named["holdout"]) if "holdout" in named else data.holdout
    data = replace(data, train=str(named["train"]), holdout=holdout, format="auto", columns={}, system=None)
    evaluation = replace(run_file.evaluation, tasks=(), base=False, retention=(), drift_rows=0)
    return replace(run_file, data=data, evaluation=evaluation, gates=())


def _line(columns: Mapping[str, Any]) -> str:
    return json.dumps(columns, ensure_ascii=False, default=str) + "\n"


def _iteration(work: _Work, number: int) -> IterationRecord:
    """One training with everything that is said of it; what is there already is taken."""
    if work.record(number).exists():
        return IterationRecord.load(work.record(number))
    started = time.monotonic()
    run_file = _run_file(work, number)
    run = work.run(number)
    work.show.say(f"iteration {number}: {run_file.data.train}")
    if not (is_run(run.path) and run.state == "finished"):
        fine_tune(run_file, command=work.command, resume=is_run(run.path), show=work.show)
    reports = _measured(work, number)
    explanation = _explained(work, number, reports[0], run_file)
    steering, final = reports
    record = IterationRecord(
        number=number,
        run=str(run.path),
        rows=sum(1 for _ in work.train(number).open(encoding="utf-8")),
        added=read_proposal(work.proposal(number)).by_slice if number else {},
        metric=steering.metric,
        higher_is_better=steering.higher_is_better,
        steering=steering.score,
        steering_interval=steering.intervals[steering.metric],
        steering_items=len(steering.items),
        final=final.score,
        final_interval=final.intervals[final.metric],
        final_items=len(final.items),
        worse=tuple(one.name for one in explanation.worse),
        seconds=round(time.monotonic() - started, 1),
    )
    record.save(work.record(number))
    return record


def _run_file(work: _Work, number: int) -> RunFile:
    data = replace(work.run_file.data, train=str(work.train(number)))
    return replace(work.run_file, data=data, output=str(work.run(number).path))


def _measured(work: _Work, number: int) -> tuple[Report, Report]:
    """The run's answers on both parts; nobody looks at the second before the end."""
    tasks = (work.halves.steering, work.halves.final)
    paths = [work.report(number, task) for task in tasks]
    if not all(path.exists() for path in paths):
        subject = open_subject(str(work.run(number).path), precision=work.run_file.model.precision)
        for task, path in zip(tasks, paths, strict=True):
            with work.show.progress(f"iteration {number}: {task.name}") as on_progress:
                report = evaluate(
                    subject, task, batch_rows=work.run_file.evaluation.batch_rows, on_progress=on_progress
                )
            report.save(path)
    return Report.load(paths[0]), Report.load(paths[1])


def _explained(work: _Work, number: int, report: Report, run_file: RunFile) -> Explanation:
    path = work.explanation(number)
    if path.exists():
        return load_explanation(path)
    options = ExplainOptions(false_alarms=work.options.false_alarms, seed=work.options.seed)
    steering = work.halves.steering
    found = explain_report(
        report, options, work.show, task=steering, path=str(work.report(number, steering)), run_file=run_file,
        embed=work.embed,
    )  # fmt: skip
    write_explanation(found, path.with_suffix(".html"), json_file=path)
    found.save(path)
    return found


def _next(work: _Work, records: Sequence[IterationRecord]) -> str | None:
    """Prepares the next iteration's rows; or why there is none."""
    number, last = len(records), records[-1]
    if not last.worse:
        return "no part of the task is worse than the rest by more than chance"
    if work.train(number).exists():
        return None
    if (limit := limit_reached(work.options, records)) is not None:
        return limit
    proposal = _proposed(work, number, budget_left(work.options, records))
    if not proposal.rows:
        return "nothing more can be added for what is worse"
    if not work.accepted(number).exists():
        said = work.accept(work.proposal(number), proposal)
        if said is None:
            return WAITS
        if not said:
            return "the proposal was refused"
        durable.write_json(work.accepted(number), {"rows": len(read_proposal(work.proposal(number)).rows)})
    rows = read_proposal(work.proposal(number)).rows  # the person may have taken some out
    before = work.train(number - 1).read_text(encoding="utf-8")
    durable.write_text(work.train(number), before + "".join(map(_line, rows)))
    return None


def _proposed(work: _Work, number: int, budget: int) -> Proposal:
    path = work.proposal(number)
    if path.exists():
        return read_proposal(path)
    steering, final = work.halves.steering, work.halves.final
    writer = work.options.model
    asked = None if writer is None else Asked(open_writer(writer, work.out / "answers", Drawing(seed=number)))
    reading = Reading(format=steering.format, columns=steering.columns, need_layout=False)
    items, _ = items_of(open_inputs([steering.data, final.data], reading))
    sources = Sources(work.options.pool, work.given.data, asked, items, work.options.seed, number)
    proposal = propose(
        load_explanation(work.explanation(number - 1)), Report.load(work.report(number - 1, steering)), sources,
        work.show, budget=budget, train=work.train(number - 1), folder=work.out, embed=work.embed,
    )  # fmt: skip
    for note in proposal.notes:
        work.show.say(note)
    if proposal.rows:
        write_proposal(proposal, path)
    return proposal


def _concluded(work: _Work, records: tuple[IterationRecord, ...], ended: str, task: str) -> Iterated:
    """The end: the best iteration is held against the first on the items that decided nothing."""
    best, final = best_of(records).number, work.halves.final
    verdict = None
    if best:
        verdict = compare(Report.load(work.report(best, final)), Report.load(work.report(0, final)))
    save_verdicts(work.out / "verdict.json", [] if verdict is None else [verdict], None)
    data = replace(work.run_file.data, train=str(work.train(best)))
    durable.write_text(work.out / "best.yaml", dump(replace(work.given, data=data)))
    page = write_iterations(records, work.out, task=task, ended=ended, verdict=verdict)
    return Iterated(records, ended, page, best=best, verdict=verdict)
