"""Checkpoints when the disk refuses, the lease is lost or the power goes: whole or absent, whatever came before."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etude import durable
from etude.errors import CheckpointError, RunError
from etude.runs import lease
from etude.training.checkpoint import digest, restore
from etude.training.checkpoint_manifest import CheckpointManifest
from tests.disk import FailingDisk, RecordingDisk
from tests.training.test_checkpoint import ALL_KINDS, RUN, flip, look, names, save, state

# --- the disk refuses


def attempt(disk: FailingDisk, folder: Path) -> str:
    """What saving step 3 on that disk complains of."""
    try:
        with durable.using(disk):
            save(folder, 3)
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failure_at_any_operation_leaves_a_sound_checkpoint(tmp_path: Path, number: int) -> None:
    at, failures, saved = 0, 0, 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        save(folder, 1)
        save(folder, 2)
        disk = FailingDisk(number, at=at, kinds=ALL_KINDS)
        message = attempt(disk, folder)
        failures += message != ""
        is_saved = message == "" or "step 3 is saved, but" in message
        assert is_saved or "step 3 was not saved, older checkpoints are intact" in message
        found = look(folder)
        assert digest(restore(found.path)) == digest(state(found.step))
        assert found.step == 3 or not is_saved
        saved += is_saved
        save(folder, 4)
        assert look(folder).step == 4
        assert not [name for name in names(folder) if name.startswith(".")]
        if disk.count < at:
            break
    assert failures > 30
    assert saved < failures


def test_a_disk_that_stays_full_leaves_the_old_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for at in range(1, 30):
        disk = FailingDisk(errno.ENOSPC, at=at, kinds=("open", "write", "mkdir", "fsync"), stays=True)
        with durable.using(disk), pytest.raises(CheckpointError):
            save(tmp_path, 2, keep=1)
        found = look(tmp_path)
        assert digest(restore(found.path)) == digest(state(found.step))


def test_a_real_size_limit_aborts_the_commit_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 1)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            save(tmp_path, 2)
        except CheckpointError as error:
            os._exit(7 if "file size limit" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert names(tmp_path) == ["step-00000001"]
    assert look(tmp_path).step == 1


def test_too_little_room_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 900, 100))
    disk = FailingDisk(errno.EIO, at=1, kinds=("write",))
    with durable.using(disk), pytest.raises(CheckpointError, match=r"not enough room .* needed, 100 bytes free"):
        save(tmp_path, 2)
    assert disk.count == 0


# --- the lease is lost


def test_a_writer_that_lost_its_lease_commits_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    mine = lease.acquire(run)
    save(run / "checkpoints", 1, fence=mine.check)
    (run / ".lease-000001").unlink()  # an operator took this process for dead
    theirs = lease.acquire(run)
    with pytest.raises(RunError, match="another process has taken this run over") as caught:
        save(run / "checkpoints", 2, fence=mine.check)
    assert not isinstance(caught.value, CheckpointError), "the loop must stop, not go on with a warning"
    assert names(run / "checkpoints") == ["step-00000001"]
    save(run / "checkpoints", 2, fence=theirs.check)
    assert look(run / "checkpoints").step == 2


@pytest.mark.parametrize(("passes", "left"), [(0, [1, 2]), (1, [1, 2]), (2, [1, 2, 3])])
def test_the_fence_is_asked_before_everything_that_others_see(tmp_path: Path, passes: int, left: list[int]) -> None:
    """At the start, before the rename, before each removal."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    asked = 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        if asked > passes:
            raise RunError("lost")

    with pytest.raises(RunError, match="lost"):
        save(tmp_path, 3, fence=fence, keep=2)
    assert names(tmp_path) == [f"step-{step:08d}" for step in left]


# --- power loss


@pytest.mark.parametrize("keep", [1, 2])
def test_power_loss_at_any_operation_leaves_the_previous_or_the_new(tmp_path: Path, keep: int) -> None:
    root = tmp_path / "root"
    save(root, 1, keep=keep)
    save(root, 2, keep=keep)
    disk = RecordingDisk(root)
    with durable.using(disk):
        save(root, 3, keep=keep)
    seen = []
    for what, folder in disk.crash_states(tmp_path / "crashed"):
        found = look(folder)
        assert found is not None, what
        assert found.step in (2, 3), what
        assert digest(restore(found.path)) == digest(state(found.step)), what
        seen.append(found.step)
    assert set(seen) == {2, 3}
    assert found.step == 3, "what was acknowledged survives whatever is lost"
    renamed = next(at for at, (kind, path, _) in enumerate(disk.log) if kind == "rename" and path.name[:5] == ".tmp-")
    removed = next(at for at, (kind, path, _) in enumerate(disk.log) if kind == "rename" and path.name[:5] == "step-")
    assert renamed < removed, "rotation only after the commit"


def test_the_replay_would_catch_a_missing_sync(tmp_path: Path) -> None:
    class Careless(RecordingDisk):
        """Syncs no files."""

        def fsync(self, descriptor: int) -> None:
            if self._open[descriptor].is_dir():
                super().fsync(descriptor)

    root = tmp_path / "root"
    root.mkdir()
    disk = Careless(root)
    with durable.using(disk):
        save(root, 1, keep=1)
    states = (folder for _, folder in disk.crash_states(tmp_path / "crashed"))
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        list(map(look, states))


# --- any history

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "commit", "damage newest", "other run", "crash"]), st.integers(1, 4)
    ),
    max_size=12,
)


def is_there(one: tuple[Path, int]) -> bool:
    """Whether this commit, not another one (or another run's) under its name, is on the disk."""
    if not one[0].exists():
        return False
    manifest = CheckpointManifest.load(one[0])
    return (manifest.run_id, manifest.sequence) == (RUN, one[1])


@settings(max_examples=60, deadline=None)
@example([("commit", 1)] * 4 + [("other run", 1)], 1)
@given(EVENTS, st.integers(1, 3))
def test_after_any_history_the_newest_sound_commit_is_found(events: list[tuple[str, int]], keep: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound: list[tuple[Path, int]] = []
        for kind, step in events:
            if kind == "commit":
                path = save(folder, step, keep=keep)
                sound.append((path, CheckpointManifest.load(path).sequence))
            elif kind == "damage newest" and len(sound) > 1 and is_there(sound[-2]):
                flip(sound.pop()[0] / "weights.safetensors")
            elif kind == "other run":
                save(folder, step, run="another", keep=9)
            elif kind == "crash":
                (folder / f".tmp-{step:08d}-dead").mkdir(exist_ok=True)
        found = look(folder)
        assert (found.path if found else None) == (sound[-1][0] if sound else None)
        kept = [one for one in sound if is_there(one)]
        assert kept == sound[len(sound) - len(kept) :], "rotation takes the oldest"
        assert len(kept) >= min(keep, len(sound)) - 1, "and no more than it should"
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
