"""Checkpoints: whole or absent, this run's or nobody's, through damage and rotation."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from etude.errors import CheckpointError
from etude.training.checkpoint import TrainState, commit, digest, find, restore, steps
from etude.training.checkpoint_manifest import NAME

RUN = "0123456789ab"
IDENTITY = {"config": "c0ffee", "data": "da7a", "base": "ba5e", "template": "7e3"}
ALL_KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "rmdir")


def state(step: int) -> TrainState:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "weights/layer.a": torch.randn(3, 4, generator=generator),
        "weights/layer.b": torch.randn(5, generator=generator).to(torch.bfloat16),
        "optimizer/step": torch.tensor(float(step)),
        "optimizer/empty": torch.zeros(0, 3),
        "rng/0/torch": torch.randint(0, 255, (40,), generator=generator, dtype=torch.uint8),
    }
    return TrainState(
        step, tensors, {"losses": [0.1 * step, 1e-300], "best": None, "cursor": {"epoch": 1, "row": step}}
    )


def save(folder: Path, step: int, *, run: str = RUN, keep: int = 2, fence=None, protect=(), identity=IDENTITY) -> Path:
    return commit(folder, state(step), run_id=run, fence=fence, keep=keep, protect=protect, identity=identity)


def look(folder: Path, step: int | None = None, *, run: str = RUN, identity=IDENTITY):
    return find(folder, run_id=run, identity=identity, step=step)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# --- there and back


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "run" / "checkpoints", 100)
    assert path == tmp_path / "run" / "checkpoints" / "step-00000100"
    found = restore(path)
    assert digest(found) == digest(state(100))
    assert found.facts == state(100).facts
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32, torch.bfloat16, torch.uint8}
    assert names(path) == [NAME, "optimizer.safetensors", "rng.safetensors", "state.json", "weights.safetensors"]


def test_the_newest_is_found_and_none_when_there_is_none(tmp_path: Path) -> None:
    assert look(tmp_path / "missing") is None
    assert look(tmp_path) is None
    save(tmp_path, 9)
    save(tmp_path, 10)
    found = look(tmp_path)
    assert (found.path, found.step, found.skipped) == (tmp_path / "step-00000010", 10, ())
    assert look(tmp_path, 9).path == tmp_path / "step-00000009"
    assert steps(tmp_path, run_id=RUN) == [10, 9]


def test_copies_and_file_times_do_not_matter(tmp_path: Path) -> None:
    save(tmp_path / "a", 1)
    save(tmp_path / "a", 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for age, path in enumerate(sorted((tmp_path / "b").rglob("*"))):
        os.utime(path, (1e9 - age * 1e6, 1e9 - age * 1e6))
    assert look(tmp_path / "b").step == 2
    save(tmp_path / "b", 3)
    assert names(tmp_path / "b") == ["step-00000002", "step-00000003"]


def test_going_back_continues_from_the_new_line(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step, keep=3)
    save(tmp_path, 15, keep=3)  # resumed from 10 on purpose
    assert look(tmp_path).step == 15
    again = save(tmp_path, 20, keep=3)
    assert again.name == "step-00000020.1"
    assert look(tmp_path).path == again
    assert look(tmp_path, 20).path == again


def test_what_json_or_the_file_names_would_change_is_refused(tmp_path: Path) -> None:
    good = state(1)
    for facts in ({"pair": (1, 2)}, {"by step": {1: 2}}):
        with pytest.raises(TypeError, match="plain JSON"):
            commit(tmp_path, TrainState(1, good.tensors, facts), run_id=RUN, fence=None, keep=1, identity={})
    for name in ("weights", "/a", "../a/b", "weights/"):
        with pytest.raises(ValueError, match="group/rest"):
            commit(tmp_path, TrainState(1, {name: torch.zeros(1)}, {}), run_id=RUN, fence=None, keep=1, identity={})
    assert names(tmp_path) == []


# --- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "has changed": flip,
    "bytes instead of": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "has 0 bytes": lambda path: path.write_bytes(b""),
    "is missing": Path.unlink,
}


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"])
@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_the_reason(tmp_path: Path, file: str, reason: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    DAMAGES[reason](path / file)
    found = look(tmp_path)
    assert found.step == 1
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"step-00000002: {file} ")
    assert reason in found.skipped[0]
    with pytest.raises(CheckpointError, match=f"step-00000002: {file}"):
        restore(path)
    with pytest.raises(CheckpointError, match=r"damaged: .*; resume without naming a step"):
        look(tmp_path, 2)
    save(tmp_path, 2)
    assert look(tmp_path).step == 2


def test_every_flipped_byte_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / NAME
    content = path.read_bytes()
    unchanged = json.loads(content)
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            same = json.loads(path.read_bytes()) == unchanged
        except ValueError:
            same = False
        assert look(tmp_path).step == (2 if same else 1), f"byte {position}"


def test_nothing_usable_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    flip(save(tmp_path, 1) / "weights.safetensors")
    (save(tmp_path, 2) / NAME).unlink()
    with pytest.raises(CheckpointError) as caught:
        look(tmp_path)
    assert "step-00000001: weights.safetensors has changed" in str(caught.value)
    assert "step-00000002: no manifest.json" in str(caught.value)


def test_an_asked_for_step_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 \(there: none\)"):
        look(tmp_path, 7)
    save(tmp_path, 5)
    save(tmp_path, 6)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 \(there: 6, 5\)"):
        look(tmp_path, 7)


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    import hashlib

    path = save(tmp_path, 1)
    raw = json.loads((path / NAME).read_text())
    raw["files"]["../../weights.safetensors"] = raw["files"].pop("weights.safetensors")
    del raw["sha256"]
    raw["sha256"] = hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (path / NAME).write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="file name"):
        restore(path)


# --- whose it is


def test_other_conditions_are_refused_naming_each_key_and_both_values(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match="data was da7a and is beef, template was 7e3 and is None"):
        look(tmp_path, identity={**IDENTITY, "data": "beef"} | {"template": None})
    with pytest.raises(CheckpointError, match="world was None and is 2"):
        look(tmp_path, identity={**IDENTITY, "world": "2"})


def test_another_runs_checkpoints_are_neither_loaded_nor_removed(tmp_path: Path) -> None:
    save(tmp_path, 500, run="another")
    (tmp_path / "step-00000600").mkdir()
    assert look(tmp_path, run="another").step == 500
    for step in (1, 2, 3):
        save(tmp_path, step, keep=1)
    assert names(tmp_path) == ["step-00000003", "step-00000500", "step-00000600"]
    found = look(tmp_path)
    assert found.step == 3
    assert found.skipped == ("step-00000600: no manifest.json", "step-00000500: belongs to run another")
    clash = save(tmp_path, 500, keep=1)
    assert clash.name == "step-00000500.1"
    assert look(tmp_path, 500).path == clash


def test_only_another_runs_checkpoints_mean_a_fresh_start(tmp_path: Path) -> None:
    save(tmp_path, 500, run="another")
    assert look(tmp_path) is None


# --- rotation


def test_rotation_keeps_the_newest_and_the_protected(tmp_path: Path) -> None:
    for step in range(1, 7):
        save(tmp_path, step, keep=2, protect={2})
    assert names(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]
    save(tmp_path, 7, keep=1)
    assert names(tmp_path) == ["step-00000007"]


def test_rotation_counts_only_sound_checkpoints(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        path = save(tmp_path, step, keep=3)
    flip(path / "weights.safetensors")
    flip(tmp_path / "step-00000002" / "weights.safetensors")
    save(tmp_path, 4, keep=2)
    assert "step-00000001" in names(tmp_path), "the second newest sound one"
    flip(tmp_path / "step-00000004" / "weights.safetensors")
    assert look(tmp_path).step == 1


def test_leftovers_of_a_dead_commit_are_swept(tmp_path: Path) -> None:
    for name in (".tmp-00000003-abcd", ".trash-step-00000001-abcd"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    assert look(tmp_path) is None
    assert names(tmp_path) == []
    (tmp_path / ".tmp-00000003-abcd").mkdir()
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-00000001"]
