"""A run that is stopped or killed goes on from its checkpoint, and ends where the undisturbed one ends, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from etude.runs.directory import RunDirectory
from tests.cycle.conftest import STEPS, Desk, Started, as_jsonl, diary, rows, weights


def assert_same_end(desk: Desk, finished: Desk) -> None:
    """The run on this desk came to what the undisturbed one did, and left nothing else."""
    run, other = desk.folder / "runs/toy", finished.folder / "runs/toy"
    assert weights(run) == weights(other)
    assert diary(run) == diary(other)
    assert (run / "samples.jsonl").read_bytes().replace(str(desk.folder).encode(), b"") == (
        other / "samples.jsonl"
    ).read_bytes().replace(str(finished.folder).encode(), b"")
    assert RunDirectory(run).state == "finished"
    assert RunDirectory(run).manifest().verify(run) == []
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if not path.name.startswith(".lease-")}
    assert names == {path.relative_to(other).as_posix() for path in other.rglob("*") if ".lease-" not in path.name}


def resume(desk: Desk) -> None:
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.code == 0, done.words


@pytest.mark.parametrize("name", ["term", "int"])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(desk: Desk, finished: Desk, name: str) -> None:
    done = desk.etude("train", "toy.yaml", ETUDE_FAULT=f"loop.after_update:7={name}")
    assert done.code == 75
    assert "Traceback" not in done.words
    assert f"stopped by SIG{name.upper()} after update 7 of {STEPS}; the checkpoint of update 7 is safe" in done.error
    assert done.last_line == "  etude train toy.yaml --resume"
    assert RunDirectory(desk.folder / "runs/toy").state == "interrupted"
    again = desk.etude("train", "toy.yaml")
    assert again.error == "error: runs/toy: already holds an interrupted run; resume it or choose another output"
    resume(desk)
    assert_same_end(desk, finished)


def paused(desk: Desk, at: str) -> Started:
    """A training that has stopped itself at a point."""
    running = desk.start("train", "toy.yaml", ETUDE_FAULT=f"{at}=stop")
    deadline = time.monotonic() + 60
    while Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, running.words.read_text()
        time.sleep(0.05)
    return running


def test_from_outside_and_twice(desk: Desk, finished: Desk) -> None:
    running = paused(desk, "loop.mid_accumulation:9")
    os.kill(running.pid, signal.SIGTERM)
    os.kill(running.pid, signal.SIGCONT)
    assert running.wait().code == 75
    resume(desk)
    assert_same_end(desk, finished)


def test_a_second_process_is_refused_and_harms_nothing(desk: Desk, finished: Desk) -> None:
    running = paused(desk, "loop.after_update:6")
    for command in (["train", "toy.yaml"], ["train", "toy.yaml", "--resume"]):
        done = desk.etude(*command)
        assert done.code == 2
        assert done.error.startswith(f"error: runs/toy: in use by process {running.pid} since ")
    os.kill(running.pid, signal.SIGCONT)
    done = running.wait()
    assert done.code == 0, done.words
    assert_same_end(desk, finished)


# durable.rename counts files as they appear: the lease, two of the prepared rows, manifest, run.yaml, data.json, the
# base's report at 7, then the checkpoints; 26 and 27 are the adapter, 28 the tuned model's report, 29 the verdict, 31
# and later the page and plots.
@pytest.mark.parametrize(
    "fault",
    [
        *("loop.after_update:1=kill", "durable.rename:3=kill", "durable.rename:27=kill", "durable.rename:30=term"),
        *(pytest.param(f"durable.rename:{n}=kill", marks=pytest.mark.slow) for n in (1, 2, 6, 31)),
        pytest.param("durable.rename:5=term", marks=pytest.mark.slow),
    ],
)
def test_stopped_anywhere(desk: Desk, finished: Desk, fault: str) -> None:
    done = desk.etude("train", "toy.yaml", ETUDE_FAULT=fault)
    assert done.code == (75 if fault.endswith("term") else -signal.SIGKILL), done.words
    if (desk.folder / "runs/toy/manifest.json").exists():
        resume(desk)
    else:
        done = desk.etude("train", "toy.yaml", "--resume")
        assert done.error.startswith("error: runs/toy: nothing to resume: holds no run (no manifest.json); begin it")
        assert desk.etude("train", "toy.yaml").code == 0
    assert_same_end(desk, finished)


def test_stopped_before_anything_was_begun(desk: Desk) -> None:
    before = desk.entries()
    done = desk.etude("train", "toy.yaml", ETUDE_FAULT="durable.rename:1=int")
    assert (done.code, done.last_line) == (130, "interrupted")
    assert desk.entries() == before


def interrupted(desk: Desk) -> Path:
    assert desk.etude("train", "toy.yaml", ETUDE_FAULT="loop.after_update:7=term").code == 75
    return desk.folder / "runs/toy"


def test_goes_on_only_with_what_it_began_with(desk: Desk, finished: Desk) -> None:
    run = interrupted(desk)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".lease-" not in path.name}
    done = desk.etude("train", "toy.yaml", "training.learning_rate=0.02", "technique.rank=8", "--resume")
    assert done.code == 2
    assert "runs/toy cannot go on, it was begun with something else:\n" in done.error
    assert "\n  training.learning_rate: was 0.01, is now 0.02\n" in done.error
    assert "\n  technique.rank: was 4, is now 8\n" in done.error
    assert done.last_line == "  put it back as it was, or begin a new run with another output"
    desk.write("train.jsonl", as_jsonl(rows(25)))
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.code == 2
    assert "the data's content: was sha256 " in done.error
    assert "settings" not in done.error
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and ".lease-" not in path.name}
    assert after == before
    desk.write("train.jsonl", as_jsonl(rows()))
    resume(desk)
    assert_same_end(desk, finished)


def test_another_base_model_is_refused(desk: Desk) -> None:
    from tests.toy import toy_module

    interrupted(desk)
    toy_module(hidden=64, seed=1).save_pretrained(desk.folder / "base")
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.code == 2
    assert "the base model's weights: was sha256 " in done.error


def test_what_the_weights_do_not_depend_on_may_change(desk: Desk, finished: Desk) -> None:
    run = interrupted(desk)
    desk.write("toy.task.yaml", "name: toy\ndata: train.jsonl\nmetric: exact_match\nmax_new_tokens: 3\nlimit: 5\n")
    resume(desk)
    assert weights(run) == weights(finished.folder / "runs/toy")
    assert json.loads((run / "verdict.json").read_text())["verdicts"][0]["n"] == 5


def test_nothing_to_resume(desk: Desk, finished: Desk) -> None:
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.error == "error: runs/toy: nothing to resume: no such run; begin it without resuming"
    shutil.copytree(finished.folder / "runs", desk.folder / "runs")
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.error.startswith("error: runs/toy: this run is finished; there is nothing to resume")
    assert weights(desk.folder / "runs/toy") == weights(finished.folder / "runs/toy")


def test_a_damaged_checkpoint_is_passed_over(desk: Desk, finished: Desk) -> None:
    run = interrupted(desk)
    file = run / "checkpoints/step-00000007/weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.code == 0
    assert "step-00000007: " in done.words
    assert weights(run) == weights(finished.folder / "runs/toy")
    assert diary(run) == diary(finished.folder / "runs/toy")
