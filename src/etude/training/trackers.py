"""The trackers that outward logging can feed: how each is opened, written, closed, and how it fails."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlflow import MlflowClient

Outcome = Literal["finished", "interrupted", "failed"]
Parameter = str | int | float | bool | None

BLOT = "[hidden]"
SECRET_NAME = re.compile(r"(?i)(api[_-]?key|access[_-]?key|token$|secret|password|passwd|credential|authorization)")
SECRET_TEXT = re.compile(
    r"hf_[A-Za-z0-9]{16,}"
    r"|sk-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|(?i:bearer\s+\S+)"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)


class Mirror(Protocol):
    """One tracker, opened; called from one thread only."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Tracker:
    """How to open one tracker, and which exceptions are its ways of failing."""

    name: str
    open: Callable[[int], Mirror]
    """Called with the first step to be written."""
    failures: Callable[[], tuple[type[Exception], ...]]


def without_secrets(name: str, value: Parameter) -> Parameter:
    """The value as a tracker may see it: credentials, by the setting's name or by their shape, are blotted out."""
    if not isinstance(value, str):
        return value
    return BLOT if SECRET_NAME.search(name) else SECRET_TEXT.sub(BLOT, value)


def tensorboard(run: Path, parameters: Mapping[str, Parameter]) -> Tracker:
    """Event files in the run directory."""

    def open_mirror(first_step: int) -> Mirror:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed run wrote from this step on is hidden, so that a resumed curve has no double points.
        writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=first_step)
        rows = (f"| {name} | {value} |" for name, value in parameters.items())
        writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), first_step)
        return _TensorBoard(writer)

    return Tracker("TensorBoard", open_mirror, lambda: (OSError, ImportError, ValueError, RuntimeError))


@dataclass(frozen=True)
class _TensorBoard:
    writer: Any

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self, outcome: Outcome) -> None:
        self.writer.close()


def mlflow(uri: str, run_id: str, parameters: Mapping[str, Parameter]) -> Tracker:
    """The experiment `etude` of an MLflow store; a resumed run goes on in the MLflow run that it began."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

    def open_mirror(first_step: int) -> Mirror:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("etude")
        experiment_id = client.create_experiment("etude") if experiment is None else experiment.experiment_id
        earlier = [
            found.info.run_id
            for found in client.search_runs([experiment_id], order_by=["attributes.start_time DESC"], max_results=100)
            if found.data.tags.get("etude.run_id") == run_id
        ]
        if earlier:
            client.update_run(earlier[0], status="RUNNING")
            return _MLflow(client, earlier[0])
        created = client.create_run(experiment_id, run_name=run_id, tags={"etude.run_id": run_id})
        for name, value in parameters.items():
            client.log_param(created.info.run_id, name, value)
        return _MLflow(client, created.info.run_id)

    def failures() -> tuple[type[Exception], ...]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        return (MlflowException, SQLAlchemyError, OSError, ImportError, ValueError, RuntimeError)

    return Tracker("MLflow", open_mirror, failures)


@dataclass(frozen=True)
class _MLflow:
    client: MlflowClient
    run_id: str

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name.replace("/", "."), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def close(self, outcome: Outcome) -> None:
        status = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[outcome]
        self.client.set_terminated(self.run_id, status=status)


def wandb(run: Path, run_id: str, parameters: Mapping[str, Parameter], *, project: str) -> Tracker:
    """A Weights & Biases run without machine details, console text or code; WANDB_MODE goes before the login."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

    def open_mirror(first_step: int) -> Mirror:
        import wandb as package

        quiet = package.Settings(
            console="off", silent=True, disable_git=True, save_code=False, disable_code=True, disable_job_creation=True,
            x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True,
        )  # fmt: skip
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if package.api.api_key else "offline")
        found = package.init(
            project=project, id=re.sub(r"[^\w-]", "-", run_id), name=run_id, dir=str(run), mode=mode,
            config=dict(parameters), resume="allow" if mode == "online" else None, settings=quiet,
        )  # fmt: skip
        return _Wandb(found)

    def failures() -> tuple[type[Exception], ...]:
        from wandb.errors import Error

        return (Error, OSError, ImportError, ValueError, RuntimeError)

    return Tracker("W&B", open_mirror, failures)


@dataclass(frozen=True)
class _Wandb:
    run: Any

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self, outcome: Outcome) -> None:
        self.run.finish(exit_code=0 if outcome == "finished" else 1)
