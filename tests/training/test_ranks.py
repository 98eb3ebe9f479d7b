"""Two real gloo ranks give one rank's result, agree with each other, and listen on loopback only."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import EtudeError
from etude.training.ranks import Ranks, digest_of
from tests.training.two_ranks import ROWS, toy_step

ROOT = Path(__file__).parents[2]


def run_ranks(folder: Path, *launcher: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, "-m", "tests.training.two_ranks", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    run_ranks(place)
    return place


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_two_ranks_train_as_one(seen: list[dict[str, Any]]) -> None:
    losses, weights = toy_step(Ranks())
    for one in seen:
        assert one["losses"] == pytest.approx(losses, abs=1e-5)
        for name, tensor in weights.items():
            torch.testing.assert_close(torch.tensor(one["weights"][name]), tensor, atol=1e-5, rtol=0)
    assert losses[-1] < losses[0]


def test_the_ranks_hold_bit_equal_weights(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["digest"] == seen[1]["digest"]
    assert seen[0]["weights"] == seen[1]["weights"]
    assert seen[0]["losses"] == seen[1]["losses"]


def test_each_rank_knows_its_place(seen: list[dict[str, Any]]) -> None:
    assert [(one["rank"], one["world"], one["is_main"]) for one in seen] == [(0, 2, True), (1, 2, False)]
    assert seen[0]["share"] + seen[1]["share"] == list(range(ROWS))


def test_sums_keep_type_shape_and_precision(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["sum_int"] == 2**41 + 1
        assert one["sum_float"] == pytest.approx(1.2, abs=1e-15)
        assert one["sum_tensor"] == [[1, 4]]
        assert one["sum_half"] == 3.0
        assert one["any"] == [False, True, True]
        assert one["gathered"] == [[0, 7], [1, 7]]
        assert (one["told"], one["told_nothing"]) == ("Grüße", "")


def test_named_sums_survive_a_rank_without_samples(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["sum_named"] == [{"loss": 1.0, "only 0": 2.0, "only 1": 2.0}, {"late": 3.0}, {}]
        assert one["texts"] == ["", "ä"]
    assert Ranks().sum_named({"b": 1.0, "a": 2.0}) == {"a": 2.0, "b": 1.0}


def test_the_main_rank_saves_and_finds_for_all(seen: list[dict[str, Any]]) -> None:
    odd = "EtudeError: the weights of rank 1 differ from rank 0's; resume from the last checkpoint; "
    for one in seen:
        saved, lost, unequal, found, writer, changed, nothing = one["together"]
        assert saved == found == "step-00000003"
        assert lost == "RunError: the lease is lost"
        assert unequal.startswith(odd)
        assert (writer, nothing) == (0, None)
        assert changed.startswith("made under other conditions: data was None and is changed")


def test_a_gradient_missing_on_some_ranks_is_zero_and_missing_on_all_stays_missing(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["gradients"] == [[3.0, 30.0], [5.0, 6.0], None, [2.0, 1.0]]


def test_unequal_weights_are_refused_on_every_rank(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["disagreement"] == seen[1]["disagreement"]
    assert seen[0]["disagreement"].startswith("the weights of rank 1 differ from rank 0's;")


def test_nothing_listens_beyond_loopback(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["listening"] == ["127.0.0.1"]
    assert set(seen[1]["listening"]) <= {"127.0.0.1"}


def test_no_thread_of_the_group_outlives_it(seen: list[dict[str, Any]]) -> None:
    """One that does may abort the process while the interpreter ends."""
    assert [[name for name in one["threads_left"] if "gloo" in name] for one in seen] == [[], []]


def test_a_rank_that_dies_is_reported_in_one_line(folder: Path) -> None:
    message = (folder / "lost.txt").read_text()
    assert message.startswith("rank 0: lost contact with the other ranks: ")
    assert "\n" not in message


def test_the_same_under_torchrun(tmp_path: Path, seen: list[dict[str, Any]]) -> None:
    run_ranks(
        tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable
    )
    other = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [one["digest"] for one in other] == [one["digest"] for one in seen]
    assert all(set(one["listening"]) <= {"127.0.0.1"} for one in other)


def test_one_process_alone_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    ranks = Ranks.start("cpu")
    value = torch.tensor([1.0])
    assert ranks == Ranks()
    assert (ranks.sum(3), ranks.sum(0.5), ranks.any(True), ranks.tell("text")) == (3, 0.5, True, "text")
    assert ranks.sum(value) is value
    assert ranks.agree({"a": value}, what="weights") == digest_of({"a": value})
    ranks.barrier()
    ranks.stop()


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is missing"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is no whole number: 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_PORT": "1"}, "RANK=2 does not fit WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_PORT is missing"),
    ],
)
def test_half_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], found: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EtudeError, match=found):
        Ranks.start("cpu")


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_the_shares_in_rank_order_are_the_step(items: list[int], world: int) -> None:
    shares = [list(Ranks(rank=rank, world=world).share(items)) for rank in range(world)]
    assert list(itertools.chain.from_iterable(shares)) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_digest_sees_every_bit_name_type_and_shape() -> None:
    one = {"a": torch.tensor([1.0, 2.0])}
    others = [
        {"b": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([[1.0, 2.0]])}, {"a": torch.tensor([1.0, 2.0000002])},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32)}, {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])},
    ]  # fmt: skip
    assert len({digest_of(tensors) for tensors in [one, *others]}) == 6
    assert digest_of(one) == digest_of({"a": torch.tensor([1.0, 0.0, 2.0, 0.0])[::2]})
