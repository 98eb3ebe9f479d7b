"""The manifest of one checkpoint: whose it is, how far it had come, and the hash of every file in it.

A folder is a checkpoint when its manifest is whole and every file is as recorded; names, times and numbers of the
folder itself prove nothing (they survive copying badly, and another run may have used the same folder).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from etude import durable
from etude.errors import CheckpointError
from etude.runs.manifest import FileEntry, file_sha256, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointManifest:
    """`manifest.json` of a checkpoint folder; it carries a hash of itself too."""

    run_id: str
    step: int
    sequence: int
    """Counts the run's commits: the newest has the highest, also after going back to an earlier step."""
    identity: Mapping[str, str]
    """What must not change under a run: hashes of its settings, data, base model, template."""
    files: Mapping[str, FileEntry]
    written: str
    """UTC, for people only: nothing is decided by it."""
    etude_version: str

    @staticmethod
    def new(
        *, run_id: str, step: int, sequence: int, identity: Mapping[str, str], files: Mapping[str, FileEntry]
    ) -> CheckpointManifest:
        """A manifest of this moment and this version."""
        return CheckpointManifest(
            run_id=run_id, step=step, sequence=sequence, identity=dict(identity), files=dict(files),
            written=utc_now(), etude_version=version("etude"),
        )  # fmt: skip

    @property
    def num_bytes(self) -> int:
        """Size of the checkpoint's files."""
        return sum(entry.bytes for entry in self.files.values())

    def save(self, folder: Path) -> None:
        """Write `manifest.json`; the last file of a checkpoint."""
        content = {"format": FORMAT, **asdict(self)}
        durable.write_json(folder / NAME, {**content, "sha256": _hash(content)})

    @staticmethod
    def load(folder: Path) -> CheckpointManifest:
        """Read `manifest.json`. Raises CheckpointError when it is missing, damaged or from a newer Etude."""
        path = folder / NAME
        try:
            return _decode(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise CheckpointError(f"no {NAME}", where=str(folder)) from None
        except KeyError as error:
            raise CheckpointError(f"{NAME} has no {error}", where=str(folder)) from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{NAME} is damaged ({error})", where=str(folder)) from error

    def damage(self, folder: Path) -> str | None:
        """What is wrong with the files beside the manifest: missing, wrong size, other content; None when all is well.

        Sizes first, then hashes: reads every byte.
        """
        for name, entry in self.files.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry.bytes:
                return f"{name} has {path.stat().st_size} bytes instead of {entry.bytes}"
        for name, entry in self.files.items():
            try:
                found = file_sha256(folder / name)
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
            if found != entry.sha256:
                return f"{name} has changed (sha256 {found[:12]} instead of {entry.sha256[:12]})"
        return None

    def require(self, identity: Mapping[str, str], *, where: Path) -> None:
        """Refuse to go on under other conditions: raises CheckpointError naming each key and both values."""
        keys = [key for key in {**self.identity, **identity} if self.identity.get(key) != identity.get(key)]
        if keys:
            changes = ", ".join(f"{key} was {self.identity.get(key)} and is {identity.get(key)}" for key in keys)
            raise CheckpointError(
                f"made under other conditions: {changes}",
                where=str(where),
                remedy="put back what changed, or start a new run in another folder",
            )


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _decode(raw: dict[str, Any]) -> CheckpointManifest:
    stated = raw.pop("sha256")
    if stated != _hash(raw):
        raise ValueError("its own hash does not match")
    if raw.pop("format") != FORMAT:
        raise ValueError("written by another version of Etude")
    files = {name: FileEntry(**entry) for name, entry in raw.pop("files").items()}
    odd = [name for name in files if not re.fullmatch(r"[a-z][a-z0-9_]*\.(safetensors|json)", name)]
    if odd:
        raise ValueError(f"file name {odd[0]!r}")
    return CheckpointManifest(files=files, **raw)
