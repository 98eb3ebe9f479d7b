"""The one way to write files that must survive: a reader sees the old file or the new one, never half of either.

A file is written beside its place, synced, renamed over it, and the folder synced. Every primitive goes through a
`Disk`, so that tests can fail the k-th operation or record them all and replay a power loss. What the disk refuses
becomes a StorageError with the path, the bytes needed and free where they are known, and what to do.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from etude import faults
from etude.errors import DISK_FULL, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class Disk:
    """The operations of the file system that persistence is made of; `using` puts another one in its place."""

    def open(self, path: Path, flags: int) -> int:
        _strike("durable.open")
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, content: memoryview) -> int:
        """The number of bytes taken, which may be fewer than given."""
        _strike("durable.write")
        return os.write(descriptor, content)

    def truncate(self, descriptor: int, size: int) -> None:
        _strike("durable.truncate")
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        _strike("durable.fsync")
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        _strike("durable.rename")
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        _strike("durable.unlink")
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        _strike("durable.mkdir")
        os.mkdir(path)

    def rmdir(self, path: Path) -> None:
        _strike("durable.rmdir")
        os.rmdir(path)


_disk = Disk()


@contextmanager
def using(disk: Disk) -> Iterator[None]:
    """Let everything inside the block go through another disk (tests: one that fails, or records)."""
    global _disk
    before, _disk = _disk, disk
    try:
        yield
    finally:
        _disk = before


def write_bytes(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write the whole file so that it survives a power loss, replacing what was there. Raises StorageError."""
    view = memoryview(content).cast("B")
    write_chunks(path, [view], size=len(view))


def write_text(path: Path, text: str) -> None:
    """Write the whole file in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Write a value as JSON (keys in their order, no NaN), as `write_bytes` does."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview], *, size: int | None = None) -> None:
    """Write a file piece by piece; it appears under its name only once all of it is on the disk."""
    with writing(path, size=size) as put:
        for chunk in chunks:
            put(chunk)


@contextmanager
def writing(path: Path, *, size: int | None = None) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Gives `put(chunk)`; the file appears under its name once the block has ended well, and not at all otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")  # `sweep` knows this form
    with explained(path, needed=size):
        try:
            descriptor = _disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                yield lambda chunk: _write_all(descriptor, memoryview(chunk).cast("B"))
                _disk.fsync(descriptor)
            finally:
                _disk.close(descriptor)
            _disk.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                _disk.unlink(temporary)
            raise
        _sync_directory(path.parent)


def create_text(path: Path, text: str) -> None:
    """Make a file that must not exist yet, for good; raises FileExistsError, so that of two processes one wins.

    A reader may see it empty for a moment.
    """
    content = text.encode("utf-8")
    with explained(path, needed=len(content)):
        descriptor = _disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            try:
                _write_all(descriptor, memoryview(content))
                _disk.fsync(descriptor)
            finally:
                _disk.close(descriptor)
            _sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                _disk.unlink(path)
            raise


def append_line(path: Path, text: str, *, fsync: bool = False) -> None:
    """Add one line to a log; a line that does not fit is taken back whole, a torn last line is closed first.

    Survives the death of the process at once, a power loss only with `fsync`.
    """
    if "\n" in text:
        raise ValueError("one line at a time")
    line = text.encode("utf-8") + b"\n"
    with explained(path, needed=len(line)):
        is_new = not path.exists()
        descriptor = _disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            try:
                _write_all(descriptor, memoryview(line))
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
            if fsync:
                _disk.fsync(descriptor)
        finally:
            _disk.close(descriptor)
        if is_new and fsync:
            _sync_directory(path.parent)


def truncate(path: Path, size: int) -> None:
    """Cut a log back to its first `size` bytes, for good."""
    with explained(path):
        descriptor = _disk.open(path, os.O_RDWR)
        try:
            _disk.truncate(descriptor, size)
            _disk.fsync(descriptor)
        finally:
            _disk.close(descriptor)


def fsync_file(path: Path) -> None:
    """Bring a file that something else wrote onto the disk."""
    with explained(path):
        descriptor = _disk.open(path, os.O_RDONLY)
        try:
            _disk.fsync(descriptor)
        finally:
            _disk.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Bring a folder's names (new files, renames, removals) onto the disk."""
    with explained(path):
        _sync_directory(path)


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder for good; both folders are synced. An existing non-empty folder is not replaced."""
    with explained(target):
        _disk.rename(source, target)
        _sync_directory(target.parent)
        if source.parent != target.parent:
            _sync_directory(source.parent)


def make_directory(path: Path, *, exist_ok: bool = False) -> None:
    """Make a folder, its missing parents included, so that its name survives.

    Raises FileExistsError when it is there already and `exist_ok` is False: exactly one of two processes wins.
    """
    missing = []
    parent = path.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):
            _make_one(folder)
    try:
        _make_one(path)
    except FileExistsError:
        if not (exist_ok and path.is_dir()):
            raise


def remove(path: Path) -> None:
    """Remove a file or a whole folder (links are not followed) and sync its parent; a missing one is no error."""
    with explained(path):
        _remove(path)
        _sync_directory(path.parent)


def sweep(folder: Path) -> None:
    """Remove the half-written files that dead processes left in a folder; for the one who alone may write there."""
    for path in sorted(folder.glob(".*.tmp")):
        if re.fullmatch(r"\..+\.\d+-[0-9a-f]{8}\.tmp", path.name):
            remove(path)


def free_bytes(path: Path) -> int:
    """Bytes free for this user on the disk that holds the path (or would hold it)."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    with explained(path):
        return shutil.disk_usage(place).free


def require_space(path: Path, bytes_needed: int) -> None:
    """Refuse to begin what would not fit: raises StorageError naming the bytes needed and free."""
    free = free_bytes(path)
    if free < bytes_needed:
        raise StorageError(
            f"not enough room on the disk: {_sized(bytes_needed)} needed, {_sized(free)} free",
            where=str(path),
            remedy="free some space or choose another folder",
            errno=errno.ENOSPC,
        )


@contextmanager
def explained(path: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn what the disk refuses inside the block into a StorageError with the path, the reason and a remedy."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise _explanation(error, path, needed) from error


def _explanation(error: OSError, path: Path, needed: int | None) -> StorageError:
    number = error.errno or errno.EIO
    if number in DISK_FULL:
        sizes = [f"{_sized(needed)} needed"] if needed is not None else []
        with suppress(OSError, StorageError):
            sizes.append(f"{_sized(free_bytes(path))} free")
        reason = (
            "file size limit reached"
            if number == errno.EFBIG
            else "quota exceeded"
            if number == errno.EDQUOT
            else "disk full"
        )
        found, remedy = (
            f"{reason} ({', '.join(sizes)})" if sizes else reason,
            "free some space and run the command again",
        )
    elif number == errno.EROFS:
        found, remedy = "the disk is read-only", "choose another folder"
    elif number in (errno.EACCES, errno.EPERM):
        found, remedy = "no permission to write here", "choose another folder or change its permissions"
    elif number in (errno.ENOENT, errno.ENOTDIR):
        found, remedy = _missing(path), None
    elif number == errno.EIO:
        found, remedy = "the disk failed (input/output error)", "check the disk or choose another folder"
    else:
        found, remedy = f"the system refused: {error.strerror or error}", None
    return StorageError(found, where=str(path), remedy=remedy, errno=number)


def _missing(path: Path) -> str:
    if path.parent.is_dir():
        return "does not exist"
    is_file = path.parent.exists()
    return f"{path.parent} is a file, not a folder" if is_file else f"the folder {path.parent} does not exist"


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[_disk.write(descriptor, view) :]


def _make_one(folder: Path) -> None:
    with explained(folder):
        _disk.mkdir(folder)
        _sync_directory(folder.parent)


def _remove(path: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_folder:
        _disk.unlink(path)
        return
    for entry in sorted(path.iterdir()):
        _remove(entry)
    _disk.rmdir(path)


def _sync_directory(folder: Path) -> None:
    descriptor = _disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _disk.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync folders
            raise
    finally:
        _disk.close(descriptor)


def _strike(name: str) -> None:
    error = faults.failure(name)
    if error is not None:
        raise error


def _sized(count: int) -> str:
    """A number of bytes for people: `1.4 GB`."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
