"""Outward logging: what is written is read back with the trackers' own readers, and nothing they do stops training."""

from __future__ import annotations

import importlib.util
import logging
import math
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.errors import EtudeError, Interrupted
from etude.training.outward import LoggingOptions, OutwardLog, outward_log, values_of
from etude.training.progress import Progress
from etude.training.trackers import Outcome, Parameter, Tracker, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx"


@pytest.fixture(autouse=True)
def _quiet_trackers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))


def progress(step: int, *, heldout_loss: float | None = None, is_main: bool = True) -> Progress:
    return Progress(
        step=step, num_steps=10, epoch=step / 10, loss=2.0 / step, learning_rate=1e-3, grad_norm=0.5, rows=16,
        tokens=800, tokens_computed=400, seconds=0.25, heldout_loss=heldout_loss, is_main=is_main,
    )  # fmt: skip


class Memory:
    """A tracker that keeps rows in memory, and can fail or hang on request."""

    def __init__(self, *, fail_at: frozenset[int] = frozenset(), error: Exception | None = None) -> None:
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.outcome: str | None = None
        self.fail_at = fail_at
        self.error = error or OSError(f"no route to https://user:{SECRET}@tracker")
        self.may_go = threading.Event()
        self.may_go.set()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.may_go.wait(5)
        if step in self.fail_at:
            raise self.error
        self.rows.append((step, values))

    def close(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def tracker(self) -> Tracker:
        return Tracker("Memory", lambda step: self, lambda: (OSError,))


def test_the_values_are_those_of_the_update() -> None:
    values = values_of(progress(2, heldout_loss=1.25))
    assert values["train/loss"] == 1.0
    assert values["heldout/loss"] == 1.25
    assert values["speed/tokens_per_second"] == 3200
    assert "heldout/loss" not in values_of(progress(2))
    assert values_of(replace(progress(2), figures={"margin": 0.5}))["train/margin"] == 0.5
    assert "speed/tokens_per_second" not in values_of(replace(progress(2), seconds=0.0))


def test_every_thins_rows_but_never_a_heldout_loss() -> None:
    memory = Memory()
    with OutwardLog([memory.tracker()], every=4) as log:
        for step in range(1, 10):
            log(progress(step, heldout_loss=0.5 if step == 7 else None), None)
    assert [step for step, _ in memory.rows] == [4, 7, 8]
    assert memory.outcome == "finished"


def test_only_the_main_rank_writes() -> None:
    memory = Memory()
    with OutwardLog([memory.tracker()]) as log:
        log(progress(1, is_main=False), None)
    assert memory.rows == []
    assert memory.outcome is None


def test_failures_are_counted_and_said_once_without_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory(fail_at=frozenset({2, 3, 5}))
    with caplog.at_level(logging.WARNING, logger="etude"), OutwardLog([memory.tracker()]) as log:
        for step in range(1, 8):
            log(progress(step), None)
    assert [step for step, _ in memory.rows] == [1, 4, 6, 7]
    assert log.lost == {"Memory": 3}
    complaints = [record.message for record in caplog.records]
    assert len(complaints) == 2, "one line when it begins to fail, one with the count at the end"
    assert "missed 3 rows" in complaints[1]
    assert SECRET not in caplog.text


def test_a_tracker_that_keeps_failing_is_given_up() -> None:
    memory = Memory(fail_at=frozenset(range(1, 100)))
    with OutwardLog([memory.tracker()]) as log:
        for step in range(1, 41):
            log(progress(step), None)
    assert log.lost == {"Memory": 40}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_failure_ends_the_mirror_but_not_the_training() -> None:
    memory = Memory(fail_at=frozenset({2}), error=KeyError("a defect of the tracker"))
    with OutwardLog([memory.tracker()]) as log:
        for step in range(1, 5):
            log(progress(step), None)
    assert log.lost["Memory"] >= 2
    assert [step for step, _ in memory.rows] == [1]


def test_a_hanging_tracker_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    memory.may_go.clear()
    log = OutwardLog([memory.tracker()], close_seconds=0.1)
    for step in range(1, 4):
        log(progress(step), None)
    log.close()
    assert "did not finish in time" in caplog.text
    memory.may_go.set()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Interrupted("stop"), "interrupted"), (KeyboardInterrupt(), "interrupted"), (OSError("disk"), "failed")],
)
def test_how_the_run_ended_is_passed_on(error: BaseException, outcome: str) -> None:
    memory = Memory()

    def train() -> None:
        with OutwardLog([memory.tracker()]) as log:
            log(progress(1), None)
            raise error

    with pytest.raises(type(error)):
        train()
    assert memory.outcome == outcome


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("note", f"token {SECRET} here"),
        ("note", "key sk-abcdefghijklmnop1234"),
        ("note", "AKIAABCDEFGHIJKLMNOP"),
        ("note", "Bearer abc.def"),
        ("database", "postgresql://etude:hunter22@db/etude"),
        ("hub_token", "anything"),
        ("OPENAI_API_KEY", "anything"),
    ],
)
def test_credentials_are_blotted_out(name: str, text: str) -> None:
    shown = str(without_secrets(name, text))
    assert "[hidden]" in shown
    assert not any(part in shown for part in (SECRET, "abcdefghijklmnop", "AKIAA", "abc.def", "hunter22", "anything"))


def test_ordinary_settings_are_left_alone() -> None:
    assert without_secrets("data.tokens_per_batch", 16_384) == 16_384
    assert without_secrets("data.train", "tickets.jsonl") == "tickets.jsonl"
    assert without_secrets("model", "https://hub.example/org/model") == "https://hub.example/org/model"


def test_a_missing_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EtudeError, match=r'pip install "etude\[mlflow\]"'):
        outward_log(LoggingOptions(mlflow=True), tmp_path)


def test_options_out_of_range_are_all_said() -> None:
    assert LoggingOptions(tensorboard=True, mlflow="http://tracker:5000", wandb="tickets").problems() == []
    settings = [setting for setting, _ in LoggingOptions(every=0, mlflow="file:///tmp/x", wandb=" ").problems()]
    assert settings == ["every", "mlflow", "wandb"]


def test_nothing_is_written_without_a_row(tmp_path: Path) -> None:
    with outward_log(LoggingOptions(tensorboard=True, mlflow=True), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_files_hold_the_figures_and_a_resumed_curve_has_no_double_points(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = LoggingOptions(tensorboard=True)
    for steps in (range(1, 6), range(4, 8)):  # killed after 5, resumed from the checkpoint at 3
        with outward_log(options, tmp_path, parameters={"learning_rate": 1e-3, "hub_token": SECRET}) as log:
            for step in steps:
                log(progress(step, heldout_loss=0.5 if step == 6 else None), None)
        assert log.lost == {"TensorBoard": 0}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    curve = events.Scalars("train/loss")
    assert [point.step for point in curve] == [1, 2, 3, 4, 5, 6, 7]
    assert all(math.isclose(point.value, 2.0 / point.step, rel_tol=1e-6) for point in curve)
    assert [(point.step, point.value) for point in events.Scalars("heldout/loss")] == [(6, 0.5)]
    assert all(SECRET.encode() not in file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())


def test_mlflow_store_holds_the_figures_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    options = LoggingOptions(mlflow=True)
    parameters: dict[str, Parameter] = {"training.learning_rate": 1e-3, "model.hub_token": SECRET}
    for steps in (range(1, 4), range(4, 6)):
        with outward_log(options, tmp_path, run_id="tickets-7f3a", parameters=parameters) as log:
            for step in steps:
                log(progress(step, heldout_loss=0.75 if step == 5 else None), None)
        assert log.lost == {"MLflow": 0}
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("etude")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train.loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 2.0 / step) for step in range(1, 6)]
    assert run.data.metrics["heldout.loss"] == 0.75
    assert run.data.params == {"training.learning_rate": "0.001", "model.hub_token": "[hidden]"}
    assert run.info.status == "FINISHED"
    assert SECRET.encode() not in (tmp_path / "mlflow.db").read_bytes()


def test_an_unreachable_mlflow_store_costs_rows_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    options = LoggingOptions(mlflow=f"sqlite:///{tmp_path / 'blocked' / 'mlflow.db'}")
    with outward_log(options, tmp_path) as log:
        log(progress(1), None)
    assert log.lost == {"MLflow": 1}
    assert "training goes on" in caplog.text


def test_wandb_writes_an_offline_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra etude[wandb] is not installed")
    with outward_log(
        LoggingOptions(wandb="tickets"), tmp_path, run_id="tickets-7f3a", parameters={"rank": 16, "hub_token": SECRET}
    ) as log:
        for step in range(1, 4):
            log(progress(step), None)
    assert log.lost == {"W&B": 0}
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 15  # W&B's own process writes the file, and may do so after the run's end
    while b"train/loss" not in (written := record.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"train/loss" in written
    assert SECRET.encode() not in written
