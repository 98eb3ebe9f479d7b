"""Whatever stops a training, resuming it ends where the undisturbed one ends, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etude.runs import lease
from tests.faults.conftest import Outcome, Trainers, outcome_of, words_of
from tests.faults.trainer import NUM_STEPS

Undisturbed = Callable[..., Outcome]

POINTS = [
    "checkpoint.before_mkdir:1", "checkpoint.before_mkdir:3", "checkpoint.mid_file:1", "checkpoint.mid_file:99",
    "checkpoint.after_files:2", "checkpoint.after_manifest:1", "checkpoint.after_manifest:6",
    "checkpoint.after_rename:1", "checkpoint.after_rename:6", "checkpoint.in_rotation:1", "checkpoint.in_rotation:4",
    "loop.after_update:1", "loop.after_update:5", f"loop.after_update:{NUM_STEPS}", "loop.mid_accumulation:13",
]  # fmt: skip
DISK_POINTS = ["before_mkdir:2", "mid_file:7", "after_files:3", "after_manifest:1", "after_rename:2", "in_rotation:1"]


def assert_resumes(trainers: Trainers, folder: Path, expected: Outcome, *, world: int = 1) -> None:
    assert trainers.run(folder, resume=True, world=world) == [0] * world, words_of(folder)
    found = outcome_of(folder, world)
    # killed between the last commit and its rotation: one more old checkpoint stays
    assert found.steps[-2:] == expected.steps
    assert len(found.steps) <= 3
    assert replace(found, steps=expected.steps) == expected


def test_the_toy_run_has_what_makes_resuming_hard(undisturbed: Undisturbed) -> None:
    """Epochs ending inside steps, several micro-batches, looks at held-out rows, rotation, a best before the last."""
    run = undisturbed()
    updates = [line for line in run.metrics if "loss" in line]
    assert [line["step"] for line in updates] == list(range(1, NUM_STEPS + 1))
    assert [line["rows"] for line in updates] == [4] * 10 + [1]
    assert updates[-1]["epoch"] > 2
    scores = {line["step"]: line["heldout_score"] for line in run.metrics if "heldout_loss" in line}
    assert list(scores) == [0, 3, 6, 9, 11]
    assert len(set(scores.values())) > 1
    assert run.results[0]["best_score"] == max(score for step, score in scores.items() if step > 0)
    assert run.results[0]["best_step"] not in (0, NUM_STEPS)
    assert [json.loads(line)["step"] for line in run.answers.splitlines()] == [0, 3, 6, 9, 11]
    assert run.steps == (10, 11)
    ids = [one for line in run.samples.splitlines() for one in json.loads(line)["ids"]]
    assert sorted(ids[:17]) == sorted(ids[17:34]) == sorted({*ids})
    assert ids[:17] != ids[17:34]


def test_the_same_run_twice_is_the_same(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    assert trainers.run(tmp_path / "run") == [0]
    assert outcome_of(tmp_path / "run") == undisturbed()


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_resumed(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, point: str) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault=f"{point}=kill") == [-signal.SIGKILL]
    assert not (run / "result.0.json").exists()
    assert_resumes(trainers, run, undisturbed())


def test_killed_again_while_resuming(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault="loop.after_update:3=kill") == [-signal.SIGKILL]
    for point in ("durable.truncate:1", "durable.truncate:2", "checkpoint.in_rotation:2", "durable.unlink:1"):
        assert trainers.run(run, fault=f"{point}=kill", resume=True) == [-signal.SIGKILL], point
    assert_resumes(trainers, run, undisturbed())


def soak(trainers: Trainers, run: Path, *, kills: int, seed: int) -> int:
    """Kill the run at random disk operations and updates until it ends by itself; how often it was killed."""
    draw = random.Random(seed)
    places = [
        "durable.write:90",
        "durable.fsync:40",
        "durable.rename:30",
        "loop.mid_accumulation:9",
        "loop.after_update:5",
    ]
    for count in range(kills):
        place, most = draw.choice(places).split(":")
        codes = trainers.run(run, fault=f"{place}:{draw.randint(1, int(most))}=kill", resume=count > 0)
        if codes == [0]:
            return count
        assert codes == [-signal.SIGKILL], words_of(run)
    return kills


def test_killed_at_random(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    for seed in range(2):
        run = tmp_path / str(seed)
        assert soak(trainers, run, kills=4, seed=seed) > 0
        assert_resumes(trainers, run, undisturbed())


@pytest.mark.slow
def test_killed_a_hundred_times_at_random(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    kills = 0
    for seed in range(1000, 1100):
        run = tmp_path / str(seed)
        kills += soak(trainers, run, kills=10, seed=seed)
        assert_resumes(trainers, run, undisturbed())
        if kills >= 100:
            return
    raise AssertionError(f"only {kills} kills")


# --- asked to stop


@pytest.mark.parametrize(
    ("fault", "name", "left"),
    [
        ("loop.after_update:3=term", "SIGTERM", 3),
        ("loop.mid_accumulation:5=int", "SIGINT", None),
        ("checkpoint.mid_file:4=term", "SIGTERM", None),
    ],
)
def test_asked_to_stop(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, fault: str, name: str, left: int | None
) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault=fault) == [75]
    said = words_of(run).strip().splitlines()
    assert said[0].startswith("stopping after this update")
    assert said[-1].startswith(f"stopped by {name} after update ")
    assert said[-1].endswith(" is safe; go on with: etude train --resume")
    assert left is None or f"after update {left} of {NUM_STEPS}; the checkpoint of update {left} is safe" in said[-1]
    assert_resumes(trainers, run, undisturbed())


def test_asked_to_stop_during_the_last_update_it_just_finishes(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    assert trainers.run(tmp_path / "run", fault=f"loop.after_update:{NUM_STEPS}=term") == [0]
    assert outcome_of(tmp_path / "run") == undisturbed()


# --- the disk refuses


@pytest.mark.parametrize("action", ["enospc", "eio", "eacces"])
@pytest.mark.parametrize("point", DISK_POINTS)
def test_a_checkpoint_that_fails_costs_only_itself(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, point: str, action: str
) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault=f"checkpoint.{point}={action}") == [0]
    found, expected = outcome_of(run), undisturbed()
    assert (found.results, found.samples, found.metrics) == (expected.results, expected.samples, expected.metrics)
    said = words_of(run)
    assert said.count("\n") == 1
    assert "older checkpoints are intact" in said or "older checkpoints could not be removed" in said
    assert found.checkpoint == expected.checkpoint


# --- damage, changed data, a lost lease


def test_a_damaged_checkpoint_is_passed_over(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault="loop.after_update:7=kill") == [-signal.SIGKILL]
    newest = run / "checkpoints" / "step-00000006" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8])
    assert trainers.run(run, resume=True) == [0]
    assert "step-00000006: weights.safetensors has " in words_of(run)
    found, expected = outcome_of(run), undisturbed()
    assert (found.results, found.samples, found.metrics) == (expected.results, expected.samples, expected.metrics)


def test_changed_data_is_refused(trainers: Trainers, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, fault="loop.after_update:3=kill") == [-signal.SIGKILL]
    before = sorted(path.relative_to(run) for path in (run / "checkpoints").rglob("*"))
    assert trainers.run(run, resume=True, data="0dd") == [2]
    assert "made under other conditions: data was da7a and is 0dd" in words_of(run)
    assert sorted(path.relative_to(run) for path in (run / "checkpoints").rglob("*")) == before


def test_a_paused_writer_whose_run_was_taken_over_commits_nothing(trainers: Trainers, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (child,) = trainers.start(run, fault="checkpoint.after_manifest:2=stop")
    while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.02)
    next(run.glob(".lease-*")).unlink()  # an operator took the paused process for dead
    with lease.held(run):
        os.kill(child, signal.SIGCONT)
        assert trainers.finish() == [2]
    assert "another process has taken this run over" in words_of(run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]


# --- two ranks


def test_two_ranks_train_as_one(trainers: Trainers, undisturbed: Undisturbed) -> None:
    """Dropout off: its masks are drawn for each rank's own rows."""
    one, two = undisturbed(dropout=0.0), undisturbed(world=2, dropout=0.0)
    assert two.samples == one.samples
    assert two.results[0] == two.results[1]
    assert len(one.metrics) == len(two.metrics)
    for mine, theirs in zip(one.metrics, two.metrics, strict=True):
        for name in ("loss", "heldout_loss", "grad_norm", "learning_rate", "rows", "tokens", "epoch"):
            assert mine.get(name) == pytest.approx(theirs.get(name), abs=1e-5), (mine["step"], name)


@pytest.mark.parametrize(
    "point",
    [
        "checkpoint.mid_file:40", "checkpoint.after_manifest:2", "checkpoint.after_rename:3",
        "checkpoint.in_rotation:1", "loop.after_update:5", "loop.mid_accumulation:4",
    ],
)  # fmt: skip
def test_two_ranks_killed_and_resumed(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, point: str) -> None:
    run = tmp_path / "run"
    codes = trainers.run(run, world=2, fault=f"{point}=kill")
    assert codes[0] == -signal.SIGKILL
    if point.startswith("checkpoint."):
        assert codes[1] == 2
        assert words_of(run, 1).startswith("rank 1: lost contact with the other ranks: ")
    assert_resumes(trainers, run, undisturbed(world=2), world=2)


def test_two_ranks_asked_to_stop_do_so_together(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first, second = trainers.start(run, world=2, fault="loop.after_update:4=stop")
    for child in (first, second):
        while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.02)
    os.kill(second, signal.SIGTERM)
    os.kill(second, signal.SIGCONT)
    os.kill(first, signal.SIGCONT)
    assert trainers.finish() == [75, 75]
    assert "stopped by another rank after update 4" in words_of(run, 0)
    assert "stopped by SIGTERM after update 4" in words_of(run, 1)
    assert_resumes(trainers, run, undisturbed(world=2), world=2)


def test_two_ranks_whose_checkpoint_fails_go_on_together(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, world=2, fault="checkpoint.mid_file:3=enospc") == [0, 0]
    assert outcome_of(run, 2) == undisturbed(world=2)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_ranks_takes_over(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, before: int, after: int
) -> None:
    """Same global batches in the same order; equal up to the order of sums."""
    run = tmp_path / "run"
    codes = trainers.run(run, world=before, dropout=0.0, fault="loop.after_update:5=kill")
    assert codes == [-signal.SIGKILL] * before
    assert trainers.run(run, world=after, dropout=0.0, resume=True) == [0] * after, words_of(run)
    found, expected = outcome_of(run, after), undisturbed(dropout=0.0)
    assert found.samples == expected.samples
    for mine, theirs in zip(found.metrics, expected.metrics, strict=True):
        assert mine.get("loss") == pytest.approx(theirs.get("loss"), abs=1e-5)


# --- memory runs out


def assert_same_up_to_the_order_of_sums(found: Outcome, expected: Outcome) -> None:
    assert found.samples == expected.samples, "the global batches and their order"
    assert len(found.metrics) == len(expected.metrics)
    for mine, theirs in zip(found.metrics, expected.metrics, strict=True):
        assert mine.keys() - {"memory"} == theirs.keys() - {"memory"}
        for name in ("loss", "heldout_loss", "grad_norm", "rows", "tokens", "epoch", "learning_rate"):
            # Adam magnifies a rounding of the first updates; how much depends on the processor's products.
            assert mine.get(name) == pytest.approx(theirs.get(name), abs=1e-4), (mine["step"], name)


def lowered(outcome: Outcome) -> list[int]:
    return [line["step"] for line in outcome.metrics if "memory" in line]


def test_a_step_without_room_is_done_again(trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, dropout=0.0, fault="loop.pass:30=oom") == [0], words_of(run)
    found, expected = outcome_of(run), undisturbed(dropout=0.0)
    assert_same_up_to_the_order_of_sums(found, expected)
    assert lowered(found)
    assert found.results[0]["most_tokens"] <= 30
    assert expected.results[0]["most_tokens"] is None


@pytest.mark.parametrize("world", [1, 2])
def test_without_room_killed_and_resumed(trainers: Trainers, tmp_path: Path, world: int) -> None:
    """Bit for bit what the run without room comes to when nobody kills it."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert trainers.run(whole, world=world, fault="loop.pass:30=oom") == [0] * world
    killed = trainers.run(parts, world=world, fault="loop.pass:30=oom,loop.after_update:5=kill")
    assert killed == [-signal.SIGKILL] * world
    assert trainers.run(parts, world=world, fault="loop.pass:30=oom", resume=True) == [0] * world
    assert outcome_of(parts, world) == outcome_of(whole, world)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_without_room_makes_all_do_the_step_again(
    trainers: Trainers, undisturbed: Undisturbed, tmp_path: Path, rank: int
) -> None:
    run = tmp_path / "run"
    codes = trainers.run(run, world=2, dropout=0.0, fault="loop.pass:31=oom", fault_on=rank)
    assert codes == [0, 0], words_of(run)
    found = outcome_of(run, 2)
    assert_same_up_to_the_order_of_sums(found, undisturbed(world=2, dropout=0.0))
    assert lowered(found)
    assert found.results[0] == found.results[1], "weights and limit"


def test_a_sample_without_room_ends_all_ranks_alike(trainers: Trainers, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert trainers.run(run, world=2, fault="loop.pass:3=oom,loop.after_update:99=kill", fault_on=1) == [2, 2]
    lines = [words_of(run, rank).strip().splitlines()[-1] for rank in range(2)]
    assert lines[0] == lines[1]
    assert "memory ran out on a single sample of " in lines[0]
    assert "or lower data.max_tokens" in lines[0]
