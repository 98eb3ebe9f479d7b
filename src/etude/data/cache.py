"""Prepared rows kept by what they were made of, so that a second run on the same data renders nothing again.

An entry is a folder named after a hash of everything that its content depends on. It is written aside, synced and
renamed, so it is whole or absent; every file's sha256 is checked before it is used. Nothing in it can run code: it is
numbers and JSON. Beyond MOST_BYTES the entries that were used longest ago are removed, and the folder may be deleted
at any time.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude import durable
from etude.data.check import LONGEST_RAW, BadRow
from etude.data.keeping import MOST_BYTES, keep_newest
from etude.data.prepare import Prepared
from etude.data.store import TYPES, TokenStore, mapped
from etude.data.summary import DataSummary, TokenCounts
from etude.errors import StorageError
from etude.json_values import json_sha256
from etude.records import Origin

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ABOUT = "prepared.json"
LIBRARIES = ("tokenizers", "transformers", "jinja2")
Say = Callable[[str], None]
Make = Callable[[Path | None], Prepared]
"""Prepares the rows, their tokens in files of the folder if one is given."""


def cache_key(**parts: object) -> str:
    """A hash of all that prepared rows depend on: what is given, and the code and libraries that prepare them."""
    code = sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    versions = {name: version(name) for name in LIBRARIES}
    whole = {**parts, "code": code.hexdigest(), "versions": versions, "byte order": sys.byteorder}
    return json_sha256(whole)


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Over the vocabulary, the rules and the chat template."""
    parts = [
        tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(tokenizer.name_or_path),
        json.dumps([tokenizer.chat_template, tokenizer.special_tokens_map], sort_keys=True, default=str),
    ]
    return sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """A folder of prepared data sets."""

    folder: Path
    say: Say
    most_bytes: int = MOST_BYTES

    def prepared(self, key: str, make: Make) -> Prepared:
        """What is kept under the key, or what `make` makes, which is then kept.

        Of several processes that ask at once, one makes it and the others wait. Where nothing can be kept (a disk that
        is full or read-only), the rows are prepared in memory.
        """
        found = self._load(key)
        if found is not None:
            return found
        try:
            with self._locked(key):
                return self._load(key) or self._made(key, make)
        except (StorageError, FileExistsError) as error:
            self.say(f"note: the prepared rows are not kept for the next run: {error}")
            return make(None)

    def _made(self, key: str, make: Make) -> Prepared:
        place, building = self.folder / key, self.folder / f".{key}.building"
        durable.remove(building)  # of a process that was killed
        durable.make_directory(building)
        try:
            prepared = make(building)
            self._describe(building, prepared)
            durable.remove(place)  # one that is damaged
            durable.replace(building, place)
        except BaseException:
            with suppress(StorageError):
                durable.remove(building)
            raise
        self._make_room(key)
        return prepared

    def _describe(self, folder: Path, prepared: Prepared) -> None:
        """Everything but the numbers, and the hashes of these."""
        for name in TYPES:
            durable.fsync_file(folder / name)
        content = {
            "files": {name: _hash_of(folder / name) for name in TYPES},
            "paths": list(prepared.samples.paths),
            "num_train": len(prepared.samples),
            "num_heldout": len(prepared.heldout),
            "summary": prepared.summary.as_dict(),
            "bad": [[row.origin.path, row.origin.line, row.reason, row.raw[:LONGEST_RAW]] for row in prepared.bad],
        }
        about = json.dumps(content)
        durable.write_text(folder / ABOUT, json.dumps({"sha256": sha256(about.encode()).hexdigest(), "about": about}))

    def _load(self, key: str) -> Prepared | None:
        """What is kept under the key; None if there is nothing, or if it is not what it was."""
        place = self.folder / key
        if not (place / ABOUT).exists():
            return None
        try:
            return _whole(place)
        except (OSError, StorageError, ValueError, KeyError, TypeError):
            self.say(f"note: the prepared rows in {place} were damaged and are made again")
            return None

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """While it lasts no other process makes this entry; the system lets go of it when a process dies."""
        durable.make_directory(self.folder, exist_ok=True)
        path = self._lock_file(key)
        with durable.explained(path):
            descriptor = _locked_file(path)
        assert descriptor is not None, "it was waited for"
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _lock_file(self, key: str) -> Path:
        return self.folder / f".{key}.lock"

    def _make_room(self, newest: str) -> None:
        """Removes what killed processes left, and what was used longest ago until the rest fits."""
        for building in self.folder.glob(".*.building"):
            lock = self._lock_file(building.name.removeprefix(".").removesuffix(".building"))
            descriptor = _locked_file(lock, wait=False)
            if descriptor is not None:
                with suppress(StorageError):
                    durable.remove(building)
                lock.unlink(missing_ok=True)
                os.close(descriptor)
        keep_newest(self.folder, newest, mark=ABOUT, most_bytes=self.most_bytes)


def _locked_file(path: Path, *, wait: bool = True) -> int | None:
    """A descriptor that holds the lock; None if another process has it and it is not to be waited for."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # who had it before has removed the file


def _whole(place: Path) -> Prepared:
    """An entry whose every byte is what was written; ValueError and others if one is not."""
    written = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    about = str(written["about"])
    if sha256(about.encode()).hexdigest() != written["sha256"]:
        raise ValueError(ABOUT)
    content = json.loads(about)
    if {name: _hash_of(place / name) for name in TYPES} != content["files"]:
        raise ValueError("numbers")
    os.utime(place / ABOUT)  # when it was used last
    return _restored(content, {name: mapped(place / name, kind) for name, kind in TYPES.items()})


def _restored(content: Mapping[str, Any], arrays: Mapping[str, Any]) -> Prepared:
    train, total = content["num_train"], content["num_train"] + content["num_heldout"]
    paths = tuple(content["paths"])
    summary = dict(content["summary"])
    summary["tokens"] = TokenCounts(**summary["tokens"])
    summary["examples"] = [[(text, kind) for text, kind in example] for example in summary["examples"]]
    bad = tuple(BadRow(Origin(path, line), reason, raw) for path, line, reason, raw in content["bad"])
    return Prepared(
        TokenStore(arrays, paths, 0, train), TokenStore(arrays, paths, train, total), DataSummary(**summary), bad
    )


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
