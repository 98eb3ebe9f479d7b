"""What was fetched from elsewhere: how much may come, and the folder in which it is kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from etude import durable
from etude.data.keeping import keep_newest
from etude.errors import DataError, EtudeError

MOST_BYTES = 10 << 30
"""Of one source; ETUDE_REMOTE_BYTES says otherwise."""
MOST_SECONDS = 3_600.0
"""For one source; ETUDE_REMOTE_SECONDS says otherwise."""
KEPT_BYTES = 50 << 30
"""Of everything that was fetched; what was used longest ago goes first."""
MARK = "source.json"


class Allowance:
    """Bytes and seconds that one source may take."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._most = self._left = int(_limit("ETUDE_REMOTE_BYTES", MOST_BYTES))
        self._until = time.monotonic() + _limit("ETUDE_REMOTE_SECONDS", MOST_SECONDS)

    def take(self, num_bytes: int) -> None:
        """So many more have come, or will; DataError where that is too much, or has taken too long."""
        self._left -= num_bytes
        if self._left < 0:
            found, name = f"is larger than {self._most:,} bytes", "ETUDE_REMOTE_BYTES"
        elif time.monotonic() > self._until:
            found, name = "takes longer than is allowed", "ETUDE_REMOTE_SECONDS"
        else:
            return
        remedy = f"raise {name}, or fetch it yourself and give the file"
        raise DataError(found, where=self._where, remedy=remedy)


def _limit(name: str, default: float) -> float:
    given = os.environ.get(name)
    try:
        found = default if given is None else float(given)
    except ValueError:
        found = 0.0
    if not found > 0:
        raise EtudeError(f"must be a number above 0, got {given!r}", where=name)
    return found


def kept(source: str, version: object, fill: Callable[[Path], None]) -> Path:
    """The folder with what `fill` wrote into it, now or before for the same version; None as version: always now."""
    from etude.runs.store import home

    key = sha256(json.dumps([source, version]).encode()).hexdigest()
    folder = home() / "remote" / key
    mark = folder / MARK
    if mark.exists() and version is not None:
        os.utime(mark)  # when it was used last
        return folder
    durable.make_directory(folder, exist_ok=True)
    fill(folder)
    durable.write_json(mark, {"source": source, "version": version})
    keep_newest(folder.parent, key, mark=MARK, most_bytes=KEPT_BYTES)
    return folder
