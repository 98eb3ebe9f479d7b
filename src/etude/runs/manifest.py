"""What a run is made of: base, data, template, settings and code by hash, and the sha256 of every file it left."""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from etude import durable
from etude.errors import RunError

Status = Literal["running", "finished", "interrupted", "failed"]

NAME = "manifest.json"
NOT_HASHED = frozenset({NAME, "checkpoints"})
"""Top-level names without a hash: the manifest itself, and checkpoints, which carry their own."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    name: str
    hash: str
    """sha256 over config and weights."""


@dataclass(frozen=True, slots=True)
class DataSource:
    sha256: str
    """Over the rows that were read, after all steps."""
    source: str
    steps: tuple[Mapping[str, Any], ...] = ()
    """What was done to the rows before: for each step its settings, inputs and outputs by hash, and counts."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What training takes, or took."""

    peak_bytes: float
    """The most memory at once."""
    seconds: float | None
    """None where it is not known beforehand."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The identity of a run; `manifest.json` in its folder."""

    run_id: str
    created: str
    """UTC, ISO 8601."""
    status: Status
    etude_version: str
    versions: Mapping[str, str]
    """python, torch, transformers."""
    base: BaseModel
    data: DataSource
    template_sha256: str
    config_sha256: str
    seed: int
    parent: str | None = None
    """Run id of the run that this one started from."""
    command: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by phase."""
    most_tokens: int | None = None
    """What memory held in one pass, where that was less than the run file asked for."""
    notes: tuple[str, ...] = ()
    """Alarms that rang, and why it ended before its last update, where it did."""
    expected: Cost | None = None
    """Foreseen before anything was loaded."""
    actual: Cost | None = None
    """Measured while it trained."""
    price_per_hour: float | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    """Written when the run finishes: path relative to the run's folder → hash and size."""

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into the run's folder, durably."""
        durable.write_json(folder / NAME, asdict(self))

    @staticmethod
    def load(folder: Path) -> Manifest:
        """The manifest of a run's folder; raises RunError when it is missing or damaged."""
        path = folder / NAME
        try:
            return _decode(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunError(f"holds no run (no {NAME})", where=str(folder)) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"damaged: {_reason(error)}", where=str(path)) from error

    def finished(self, folder: Path, *, status: Status = "finished") -> Manifest:
        """The same manifest with its final status and the hash of every file in the folder."""
        return replace(self, status=status, files=hash_files(folder))

    def verify(self, folder: Path) -> list[str]:
        """What differs from the recorded files: missing, resized or changed. Empty: all as it was."""
        found = []
        for name, entry in self.files.items():
            path = folder / name
            if not path.is_file():
                found.append(f"{name}: missing")
            elif path.stat().st_size != entry.bytes:
                found.append(f"{name}: {path.stat().st_size} bytes, {entry.bytes} recorded")
            elif file_sha256(path) != entry.sha256:
                found.append(f"{name}: content changed")
        return found


def new_run_id() -> str:
    """A fresh id: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def utc_now() -> str:
    """This moment in UTC, ISO 8601 with offset, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    """Versions of what moves a run's numbers; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, FileEntry]:
    """Every file below the run's folder but hidden ones, checkpoints and the manifest, in name order."""
    found: dict[str, FileEntry] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] in NOT_HASHED or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        found["/".join(parts)] = FileEntry(file_sha256(path), path.stat().st_size)
    return found


def _decode(raw: dict[str, Any]) -> Manifest:
    status = raw["status"]
    if status not in get_args(Status):
        raise ValueError(f"unknown status {status!r}")
    known = dict(raw)
    known["base"] = BaseModel(**raw["base"])
    known["data"] = DataSource(**{**raw["data"], "steps": tuple(raw["data"].get("steps", ()))})
    known |= {name: Cost(**raw[name]) for name in ("expected", "actual") if raw.get(name) is not None}
    known["notes"] = tuple(raw.get("notes", ()))
    known["command"] = tuple(raw["command"])
    known["files"] = {name: FileEntry(**entry) for name, entry in raw["files"].items()}
    return Manifest(**known)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return str(error)
