"""A run's folder: where each of its files lies, and who may start or go on writing there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etude import durable
from etude.errors import RunError
from etude.runs import lease as leases
from etude.runs import manifest as manifests
from etude.runs.manifest import Manifest

if TYPE_CHECKING:
    from etude.runs.lease import Lease

State = Literal["running", "finished", "interrupted", "failed", "died", "damaged"]
"""A manifest's status; `died`: it says running but its process is gone; `damaged`: the manifest cannot be read."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run, by name. The folder is the truth; the index is only a view of it."""

    path: Path

    @property
    def run_file(self) -> Path:
        """The run file with every setting resolved."""
        return self.path / "run.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / manifests.NAME

    @property
    def data_file(self) -> Path:
        """Summary of the rows learned from."""
        return self.path / "data.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples_file(self) -> Path:
        """The ids of the samples of each update, in order."""
        return self.path / "samples.jsonl"

    @property
    def answers_file(self) -> Path:
        """Answers to the task that was asked during training, a line for each look."""
        return self.path / "answers.jsonl"

    @property
    def memorization_file(self) -> Path:
        """What the model recites of its training rows, once that was asked."""
        return self.path / "memorization.json"

    @property
    def quarantine_file(self) -> Path:
        """Rows that could not be used."""
        return self.path / "quarantine.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after that update."""
        return self.checkpoints / f"step-{step:08d}"

    @property
    def adapter(self) -> Path:
        """Final weights of a technique that adds some."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """Final weights of full fine-tuning."""
        return self.path / "model"

    @property
    def weights(self) -> Path | None:
        """Where the final weights are, if there are any yet."""
        return next((folder for folder in (self.adapter, self.model) if folder.is_dir()), None)

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    def report(self, task: str, *, base: bool = False, retention: bool = False) -> Path:
        """The per-item report of a task or of a retention probe, of the tuned model or of its base."""
        folder = self.reports / "retention" if retention else self.reports
        return folder / (f"{task}.base.jsonl" if base else f"{task}.jsonl")

    @property
    def retention_file(self) -> Path:
        """What was kept and forgotten beside the task."""
        return self.path / "retention.json"

    @property
    def verdict_file(self) -> Path:
        return self.path / "verdict.json"

    @property
    def page(self) -> Path:
        """The self-contained report for people."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def manifest(self) -> Manifest:
        """The run's identity; raises RunError when it is missing or damaged."""
        return Manifest.load(self.path)

    @property
    def state(self) -> State:
        """How the run stands, with a dead process told apart from a running one."""
        try:
            status = self.manifest().status
        except RunError:
            return "damaged"
        if status != "running":
            return status
        holder = leases.holder(self.path)
        return "died" if holder is None or holder.is_gone else "running"


def is_run(path: Path) -> bool:
    """Whether the folder holds a run, damaged or not."""
    return (path / manifests.NAME).is_file()


def open_run(path: Path | str) -> RunDirectory:
    """An existing run, to read. Raises RunError with what was found instead."""
    folder = Path(path)
    if is_run(folder):
        return RunDirectory(folder)
    if not folder.exists():
        raise RunError("no such run", where=str(path), remedy=_nearest(folder))
    raise RunError(f"holds no run (no {manifests.NAME})", where=str(path), remedy=_nearest(folder))


def claim(path: Path | str, *, resume: bool = False, allow_finished: bool = False) -> tuple[RunDirectory, Lease]:
    """The folder to write a run into, with its lease held: a new one, or with `resume` one that did not finish.

    Nothing that is there is ever deleted. Raises RunError for a folder that holds something else, a run where a new one
    was asked for, a finished run (unless `allow_finished`), or one that another process is writing.
    """
    folder = Path(path)
    if resume:
        _refuse_no_run(folder)
    else:
        _make(folder)
    lease = leases.acquire(folder)
    try:
        run = RunDirectory(folder)
        if resume:
            _refuse_finished(run, allow_finished=allow_finished)
        else:
            _refuse_occupied(folder, may_be_running=False)
    except BaseException:
        lease.release()
        raise
    return run, lease


def _make(folder: Path) -> None:
    try:
        durable.make_directory(folder)
    except FileExistsError:
        if not folder.is_dir():
            raise RunError("is a file, not a folder", where=str(folder), remedy="choose another output") from None
        _refuse_occupied(folder, may_be_running=True)


def _refuse_occupied(folder: Path, *, may_be_running: bool) -> None:
    if is_run(folder):
        state = RunDirectory(folder).state
        if state == "running" and may_be_running:
            return  # taking its lease says more
        article = "an" if state == "interrupted" else "a"
        remedy = "choose another output" if state == "finished" else "resume it or choose another output"
        kind = {"died": "run whose process died"}.get(state, f"{state} run")
        raise RunError(f"already holds {article} {kind}", where=str(folder), remedy=remedy)
    others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if others:
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise RunError(f"not empty and no run (holds {some})", where=str(folder), remedy="choose another output")


def _refuse_no_run(folder: Path) -> None:
    try:
        open_run(folder)
    except RunError as error:
        remedy = error.remedy or "begin it without resuming"
        raise RunError(f"nothing to resume: {error.found}", where=str(folder), remedy=remedy) from None


def _refuse_finished(run: RunDirectory, *, allow_finished: bool) -> None:
    if run.manifest().status == "finished" and not allow_finished:
        raise RunError(
            "this run is finished; there is nothing to resume",
            where=str(run.path),
            remedy="choose another output to train again",
        )


def _nearest(folder: Path) -> str | None:
    """A remedy that names runs beside or below the place that was asked for."""
    import difflib

    parent = folder if folder.is_dir() else folder.parent
    if not parent.is_dir():
        return None
    names = sorted(entry.name for entry in parent.iterdir() if is_run(entry))
    close = difflib.get_close_matches(folder.name, names, n=1) or (names if len(names) <= 5 else [])
    return f"did you mean {' or '.join(str(parent / name) for name in close)}?" if close else None
