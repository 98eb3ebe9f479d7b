"""Durable writing: whole files or none, through full disks, failing disks and power loss."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude import durable
from etude.errors import StorageError
from tests.disk import FailingDisk, RecordingDisk, ShortDisk

ALL_KINDS = ("open", "write", "truncate", "fsync", "rename", "unlink", "mkdir", "rmdir")


def operations_of(action) -> int:
    disk = FailingDisk(0, at=-1, kinds=ALL_KINDS)
    with durable.using(disk):
        action()
    return disk.count


def test_written_files_read_back(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "a", b"\x00\xff")
    durable.write_text(tmp_path / "b", "Grüße\r\n")
    durable.write_json(tmp_path / "c", {"ключ": [1, None, 0.5]})
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == "Grüße\r\n".encode()
    assert json.loads((tmp_path / "c").read_text(encoding="utf-8")) == {"ключ": [1, None, 0.5]}
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_not_a_number_never_reaches_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        durable.write_json(tmp_path / "c", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_a_failure_at_any_operation_leaves_the_old_file_or_the_new(tmp_path: Path, number: int) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    total = operations_of(lambda: durable.write_bytes(path, b"new"))
    assert total >= 6  # open, write, fsync, rename, open folder, fsync folder
    for k in range(1, total + 1):
        path.write_bytes(b"old")
        with durable.using(FailingDisk(number, at=k, kinds=ALL_KINDS)), pytest.raises(StorageError) as caught:
            durable.write_bytes(path, b"new")
        assert caught.value.errno == number
        assert str(path) in str(caught.value)
        assert path.read_bytes() in (b"old", b"new")
        assert os.listdir(tmp_path) == ["state"], f"a leftover after failing operation {k}"


def test_a_disk_that_keeps_failing_still_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    with durable.using(FailingDisk(errno.EIO, at=2, kinds=ALL_KINDS, stays=True)), pytest.raises(StorageError):
        durable.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_power_loss_at_any_operation_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "state").write_bytes(b"old")
    disk = RecordingDisk(root)
    with durable.using(disk):
        durable.write_bytes(root / "state", b"new content")
    seen = set()
    for what, folder in disk.crash_states(tmp_path / "crashed"):
        found = (folder / "state").read_bytes()
        assert found in (b"old", b"new content"), what
        seen.add(found)
    assert seen == {b"old", b"new content"}
    assert found == b"new content", "what was acknowledged survives whatever is lost"


def test_the_replay_would_catch_a_missing_sync(tmp_path: Path) -> None:
    """The same protocol without its file sync loses data in the replay: the check can fail."""

    class Careless(RecordingDisk):
        def fsync(self, descriptor: int) -> None:
            if self._open[descriptor].is_dir():
                super().fsync(descriptor)

    root = tmp_path / "root"
    root.mkdir()
    (root / "state").write_bytes(b"old")
    disk = Careless(root)
    with durable.using(disk):
        durable.write_bytes(root / "state", b"new")
    assert b"" in {(folder / "state").read_bytes() for _, folder in disk.crash_states(tmp_path / "crashed")}


def test_synced_lines_survive_a_power_loss(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = RecordingDisk(root)
    acknowledged: dict[int, int] = {}
    with durable.using(disk):
        for count in range(1, 4):
            durable.append_line(root / "log", f"line {count}", fsync=True)
            acknowledged[len(disk.log)] = count
    for what, folder in disk.crash_states(tmp_path / "crashed"):
        position = int(what.split()[0]) if what[0].isdigit() else 0
        due = max((count for length, count in acknowledged.items() if length <= position), default=0)
        lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
        assert lines[:due] == [f"line {count}" for count in range(1, due + 1)], what


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])), max_size=8))
def test_appended_lines_come_back_in_order_through_short_writes(lines: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, durable.using(ShortDisk()):
        path = Path(folder) / "log"
        for line in lines:
            durable.append_line(path, line)
        found = path.read_bytes().decode() if lines else ""
        assert found == "".join(f"{line}\n" for line in lines)


def test_a_new_file_is_made_once_or_not_at_all(tmp_path: Path) -> None:
    durable.create_text(tmp_path / "lock", "me")
    with pytest.raises(FileExistsError):
        durable.create_text(tmp_path / "lock", "you")
    assert (tmp_path / "lock").read_text() == "me"
    total = operations_of(lambda: durable.create_text(tmp_path / "other", "me"))
    for k in range(1, total + 1):
        with durable.using(FailingDisk(errno.ENOSPC, at=k, kinds=ALL_KINDS)), pytest.raises(StorageError):
            durable.create_text(tmp_path / "third", "me")
        assert not (tmp_path / "third").exists()


def test_a_line_that_does_not_fit_is_taken_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    durable.append_line(path, "first")

    class FullAfterThreeBytes(ShortDisk):
        taken = 0

        def write(self, descriptor: int, content: memoryview) -> int:
            if self.taken:
                raise OSError(errno.ENOSPC, "full")
            self.taken = super().write(descriptor, content)
            return self.taken

    with durable.using(FullAfterThreeBytes()), pytest.raises(StorageError) as caught:
        durable.append_line(path, "second")
    assert caught.value.disk_full
    assert path.read_text() == "first\n"


def test_a_torn_last_line_is_closed_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"step": 1}\n{"ste')
    durable.append_line(path, '{"step": 2}')
    assert path.read_text().splitlines() == ['{"step": 1}', '{"ste', '{"step": 2}']


def test_line_breaks_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        durable.append_line(tmp_path / "log", "a\nb")


def test_truncate_cuts_back(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    durable.truncate(tmp_path / "log", 4)
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_folders_are_made_once(tmp_path: Path) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    with pytest.raises(FileExistsError):
        durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b", exist_ok=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        durable.make_directory(tmp_path / "file", exist_ok=True)


def test_a_renamed_folder_survives_with_its_synced_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = RecordingDisk(root)
    with durable.using(disk):
        durable.make_directory(root / ".tmp-1")
        durable.write_bytes(root / ".tmp-1" / "weights", b"w" * 10)
        durable.write_bytes(root / ".tmp-1" / "manifest.json", b"{}")
        durable.replace(root / ".tmp-1", root / "step-1")
    for what, folder in disk.crash_states(tmp_path / "crashed"):
        if (folder / "step-1").exists():
            assert (folder / "step-1" / "weights").read_bytes() == b"w" * 10, what
            assert (folder / "step-1" / "manifest.json").read_bytes() == b"{}", what
    assert (folder / "step-1").exists()


def test_removal_takes_folders_but_not_what_links_point_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "x").write_text("x")
    (folder / "link").symlink_to(kept)
    durable.remove(folder)
    durable.remove(folder)
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert (kept / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"disk full \(3 bytes needed, .+ free\); free some space"),
        (errno.EDQUOT, "quota exceeded"),
        (errno.EFBIG, "file size limit"),
        (errno.EROFS, "read-only; choose another folder"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "the disk failed"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_every_refusal_is_one_clear_line(tmp_path: Path, number: int, said: str) -> None:
    with (
        durable.using(FailingDisk(number, at=1, kinds=("write",))),
        pytest.raises(StorageError, match=said) as caught,
    ):
        durable.write_bytes(tmp_path / "a", b"abc")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"the folder .*gone does not exist"):
        durable.write_text(tmp_path / "gone" / "a", "x")


def test_room_is_asked_for_before_writing(tmp_path: Path) -> None:
    durable.require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(StorageError, match=r"needed, .* free") as caught:
        durable.require_space(tmp_path / "not" / "yet", 10**18)
    assert caught.value.disk_full
    assert durable.free_bytes(tmp_path) > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_really_full_device_is_reported() -> None:
    with pytest.raises(StorageError) as caught:
        durable.append_line(Path("/dev/full"), "x")
    assert caught.value.errno == errno.ENOSPC


def test_a_real_file_size_limit_keeps_the_old_file(tmp_path: Path) -> None:
    """RLIMIT_FSIZE in a process of its own: no shim between us and the kernel."""
    path = tmp_path / "state"
    path.write_bytes(b"old")
    code = (
        "import sys; from pathlib import Path; from etude import durable; from etude.errors import StorageError\n"
        "try: durable.write_bytes(Path(sys.argv[1]), b'x' * 100_000)\n"
        "except StorageError as error: print(error); sys.exit(error.exit_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "file size limit reached (100.0 kB needed" in done.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]
