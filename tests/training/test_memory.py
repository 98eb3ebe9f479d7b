"""Memory runs out: the step is done again in smaller micro-batches, and comes to what it would have come to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from etude import faults
from etude.data.batches import OfflineBatches
from etude.errors import EtudeError
from etude.training.memory import Room, Smaller, ran_out
from etude.training.ranks import Ranks
from etude.training.saving import Place
from tests.training.small_run import Seen, samples, small_run


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch):
    """Leaves memory for so many tokens in one pass: `memory(40)`, `memory(40, at="heldout.pass")`."""
    monkeypatch.setenv("ETUDE_TESTING", "1")

    def leave(tokens: int | None, *, at: str = "loop.pass") -> None:
        faults.rearm()
        monkeypatch.setenv("ETUDE_FAULT", "" if tokens is None else f"{at}:{tokens}=oom")

    return leave


def source() -> OfflineBatches:
    return OfflineBatches(samples=samples(12))


def weights_apart(one: Seen, other: Seen) -> float:
    return max(float((one.weights[-1][name] - other.weights[-1][name]).abs().max()) for name in one.weights[-1])


def test_the_run_is_what_it_would_have_been(memory) -> None:
    _, plain = small_run(source=source())
    memory(20)
    trained, tight = small_run(source=source())
    assert tight.losses == pytest.approx(plain.losses, rel=1e-5)
    assert [one.grad_norm for one in tight.updates] == pytest.approx([one.grad_norm for one in plain.updates], rel=1e-4)
    assert weights_apart(plain, tight) < 1e-4
    assert [one.rows for one in tight.updates] == [4] * 6
    assert [one.tokens for one in tight.updates] == [one.tokens for one in plain.updates]
    assert {one.micro_batches for one in plain.updates} == {1}
    assert all(one.micro_batches > 1 for one in tight.updates)
    assert trained.most_tokens is not None
    assert trained.most_tokens <= 20
    assert tight.updates[0].memory is not None
    assert tight.updates[0].memory.endswith(f"; from here on at most {trained.most_tokens}")
    assert [one.memory for one in plain.updates] == [None] * 6


def test_gradients_of_the_failed_try_count_for_nothing(memory) -> None:
    """The fault strikes after the backward pass of a micro-batch, when its gradients are there already."""
    _, plain = small_run(source=source(), steps=1, learning_rate=1.0, schedule="constant", clip_norm=0.0)
    memory(20)
    _, tight = small_run(source=source(), steps=1, learning_rate=1.0, schedule="constant", clip_norm=0.0)
    assert tight.updates[0].grad_norm == pytest.approx(plain.updates[0].grad_norm, rel=1e-5)


def test_the_limit_is_written_down_and_survives_a_resume(memory, tmp_path: Path) -> None:
    def run(folder: str, steps: int, *, resume: bool = False) -> tuple[Seen, int | None]:
        (tmp_path / folder).mkdir(exist_ok=True)
        place = Place(folder=tmp_path / folder, run_id="r", resume=resume)
        trained, seen = small_run(source=source(), steps=steps, schedule="constant", warmup_share=0.0, place=place)
        return seen, trained.most_tokens

    memory(20)
    whole, limit = run("whole", 6)
    first, _ = run("parts", 3)
    memory(None)  # the resumed run would have room again, and still cuts as it did
    rest, kept = run("parts", 6, resume=True)
    assert kept == limit
    assert first.losses + rest.losses == whole.losses
    assert weights_apart(whole, rest) == 0.0
    lines = [json.loads(line) for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()]
    assert ["memory" in line for line in lines] == [True] + [False] * 5
    assert lines[0]["memory"].startswith("memory ran out on ")
    assert [line["micro_batches"] for line in lines] == [one.micro_batches for one in whole.updates]


@pytest.mark.parametrize("point", ["loop.pass", "heldout.pass"])
def test_a_single_sample_without_room_ends_the_run_in_one_line(memory, tmp_path: Path, point: str) -> None:
    memory(3, at=point)
    place = Place(folder=tmp_path, run_id="r")
    with pytest.raises(
        EtudeError, match=r"^update \d: rows:\d+: memory ran out on a single sample of .* or lower data\.max_tokens"
    ) as caught:
        small_run(source=source(), place=place, save_every=1, heldout=source(), heldout_every=2)
    assert caught.value.exit_code == 2
    assert (tmp_path / "checkpoints").exists() == (point == "heldout.pass"), "the checkpoint of update 1 stays"


def test_a_look_at_held_out_rows_without_room_is_done_again(memory) -> None:
    plain, seen = small_run(source=source(), heldout=source(), heldout_every=2)
    memory(30, at="heldout.pass")
    tight, looked = small_run(source=source(), heldout=source(), heldout_every=2)
    assert tight.heldout_loss == pytest.approx(plain.heldout_loss, rel=1e-5)
    assert [bool(one.memory) for one in looked.updates] == [False, True, False, False, False, False]
    assert [one.memory for one in seen.updates] == [None] * 6


def test_what_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as on_cpu:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out(on_cpu.value)
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert ran_out(MemoryError())
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_other_errors_pass_through() -> None:
    def broken(batch: object) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    room = Room()
    with pytest.raises(RuntimeError, match="shapes"):
        room.passes(source().sweep(lambda parts: parts), broken, Ranks(), update=1)
    assert room.most_tokens is None


def test_each_failure_lowers_the_limit_to_half_of_what_was_tried() -> None:
    room, tried = Room(), []

    def greedy(batch) -> None:
        tried.append(len(batch.tokens_T))
        if len(batch.sample_ids) > 2:
            raise MemoryError

    while True:
        try:
            batches = source().sweep(lambda parts: parts, most_tokens=room.most_tokens)
            room.passes(batches, greedy, Ranks(), update=1)
            break
        except Smaller:
            assert room.most_tokens == tried[-1] // 2
    told = room.tell()
    assert told is not None
    assert told.count("memory ran out") == told.count("; from here on") > 1
    assert room.tell() is None


TIGHT = """
import resource, torch
from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from tests.toy import toy_loaded
from tests.training.small_run import small_run

torch.set_num_threads(1)
rows = tuple(
    Sample(str(i), (TokenRow(tuple((7 * i + 11 * j) % 290 + 3 for j in range(96)), (0.0, *[1.0] * 95)),))
    for i in range(64)
)

def run(count):
    policy = attach(LoRA(rank=2), toy_loaded(layers=8, hidden=128), seed=1)
    trained, seen = small_run(policy=policy, source=OfflineBatches(samples=rows[:count]), steps=2, batch_rows=count)
    print(trained.most_tokens, *seen.losses)

run(2)  # what the first pass allocates for good
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (60 << 20), -1))
run(64)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
run(64)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_really_runs_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TIGHT], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    _, tight, plain = (line.split() for line in done.stdout.splitlines())
    assert plain[0] == "None"
    assert 95 <= int(tight[0]) < 64 * 95
    assert [float(one) for one in tight[1:]] == pytest.approx([float(one) for one in plain[1:]], rel=1e-4)
