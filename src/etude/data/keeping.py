"""How much is kept: of a folder's entries those that were used last, as far as they fit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from etude import durable
from etude.errors import StorageError

MOST_BYTES = 8 << 30


def keep_newest(folder: Path, newest: str, *, mark: str, most_bytes: int = MOST_BYTES) -> None:
    """Removes the entries of a folder that were used longest ago until the rest fits, `newest` in any case.

    Each entry is a folder with a file called `mark`, which is touched whenever the entry is used.
    """
    entries = [path.parent for path in folder.glob(f"*/{mark}") if path.parent.name != newest]
    room = most_bytes - _size(folder / newest)
    for entry in sorted(entries, key=lambda entry: _used(entry / mark), reverse=True):
        room -= _size(entry)
        if room < 0:
            with suppress(StorageError):
                durable.remove(entry)


def _used(mark: Path) -> float:
    try:
        return mark.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _size(entry: Path) -> int:
    try:
        return sum(path.stat().st_size for path in entry.iterdir())
    except OSError:
        return 0
