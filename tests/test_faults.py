"""Fault points: armed only in tests, firing at the named pass and nowhere else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from etude import durable, faults
from etude.errors import EtudeError, StorageError


@pytest.fixture(autouse=True)
def _fresh() -> None:
    faults.rearm()


def arm(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.setenv("ETUDE_TESTING", "1")
    monkeypatch.setenv("ETUDE_FAULT", spec)


def test_nothing_fires_without_the_testing_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETUDE_TESTING", raising=False)
    monkeypatch.setenv("ETUDE_FAULT", "a=enospc")
    assert faults.point("a") is False


def test_the_nth_pass_of_the_named_point_fires_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, "loss:3=nan")
    assert [faults.point("loss") for _ in range(5)] == [False, False, True, False, False]
    assert faults.point("other") is False


def test_several_faults_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, "a:2=nan, a:3=nan, b=eio")
    assert [faults.point("a") for _ in range(4)] == [False, True, True, False]
    with pytest.raises(StorageError) as caught:
        faults.point("b")
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("eio", errno.EIO), ("eacces", errno.EACCES)])
def test_disk_faults_look_like_the_real_thing(
    monkeypatch: pytest.MonkeyPatch, tmp_path, action: str, number: int
) -> None:
    arm(monkeypatch, f"durable.write:2={action}")
    durable.write_text(tmp_path / "a", "1")
    with pytest.raises(StorageError) as caught:
        durable.write_text(tmp_path / "a", "2")
    assert caught.value.errno == number
    assert (tmp_path / "a").read_text() == "1"


def test_memory_runs_out_wherever_more_than_the_number_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    arm(monkeypatch, "pass:300=oom, pass:2=nan")
    for _ in range(2):
        faults.demand("pass", 300)
        faults.demand("other", 10_000)
        with pytest.raises(MemoryError, match=r"301 at pass"):
            faults.demand("pass", 301)
    assert [faults.point("pass") for _ in range(3)] == [False, True, False], "other faults of the point still fire"
    monkeypatch.delenv("ETUDE_TESTING")
    faults.demand("pass", 301)


@pytest.mark.parametrize("spec", ["a", "a=explode", "=kill", "a:x=kill"])
def test_a_misspelt_fault_is_refused(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    arm(monkeypatch, spec)
    with pytest.raises(EtudeError, match="ETUDE_FAULT"):
        faults.point("a")


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("term", signal.SIGTERM)])
def test_signals_end_the_process_at_the_point(action: str, number: int) -> None:
    code = "from etude import faults; print('before', flush=True); faults.point('x'); print('after', flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ETUDE_TESTING": "1", "ETUDE_FAULT": f"x={action}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -number
    assert done.stdout == "before\n"
