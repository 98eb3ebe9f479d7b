"""Disks for tests: one that fails its k-th operation, and one that records all of them and replays a power loss."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etude.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FailingDisk(Disk):
    """Fails the k-th operation (from 1) of the given kinds with an error number; `count` says how many there were."""

    def __init__(
        self, number: int, *, at: int, kinds: tuple[str, ...] = ("open", "write", "fsync", "rename"), stays=False
    ):
        self.number = number
        self.at = at
        self.kinds = kinds
        self.stays = stays
        self.count = 0

    def _pass(self, kind: str) -> None:
        if kind not in self.kinds:
            return
        self.count += 1
        if self.count == self.at or (self.stays and self.count > self.at):
            raise OSError(self.number, os.strerror(self.number))

    def open(self, path: Path, flags: int) -> int:
        self._pass("open")
        return super().open(path, flags)

    def write(self, descriptor: int, content: memoryview) -> int:
        self._pass("write")
        return super().write(descriptor, content)

    def truncate(self, descriptor: int, size: int) -> None:
        self._pass("truncate")
        super().truncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        self._pass("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._pass("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._pass("unlink")
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self._pass("mkdir")
        super().mkdir(path)

    def rmdir(self, path: Path) -> None:
        self._pass("rmdir")
        super().rmdir(path)


class ShortDisk(Disk):
    """Takes at most three bytes a write, as a real disk may."""

    def write(self, descriptor: int, content: memoryview) -> int:
        return super().write(descriptor, content[:3])


@dataclass
class Node:
    """A file or folder with what has reached the platter (`kept`) and what the system still only remembers (`seen`)."""

    seen: bytes | dict[str, Node]
    kept: bytes | dict[str, Node]


def _folder() -> Node:
    return Node({}, {})


@dataclass
class RecordingDisk(Disk):
    """Does every operation for real below `root` and keeps the list, for `crash_states`."""

    root: Path
    log: list[tuple[str, Path, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open: dict[int, Path] = {}
        self._before = {
            path.relative_to(self.root): path.read_bytes() if path.is_file() else None
            for path in sorted(self.root.rglob("*"))
        }

    def _note(self, kind: str, path: Path, detail: object = None) -> None:
        self.log.append((kind, path.relative_to(self.root), detail))

    def open(self, path: Path, flags: int) -> int:
        existed = path.exists()
        descriptor = super().open(path, flags)
        self._open[descriptor] = path
        if not existed:
            self._note("create", path)
        return descriptor

    def write(self, descriptor: int, content: memoryview) -> int:
        taken = super().write(descriptor, content)
        self._note("write", self._open[descriptor], bytes(content[:taken]))
        return taken

    def truncate(self, descriptor: int, size: int) -> None:
        super().truncate(descriptor, size)
        self._note("truncate", self._open[descriptor], size)

    def fsync(self, descriptor: int) -> None:
        super().fsync(descriptor)
        self._note("fsync", self._open[descriptor])

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._note("rename", source, target.relative_to(self.root))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._note("remove", path)

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._note("mkdir", path)

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._note("remove", path)

    def crash_states(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """After each prefix of the log, the folders that a power loss could leave: (what happened, where it lies).

        Names and contents that were never synced are lost or kept, independently (ALICE, OSDI 2014).
        """
        for length in range(len(self.log) + 1):
            tree = self._replayed(length)
            last = "start" if not length else f"{length} {self.log[length - 1][0]} {self.log[length - 1][1]}"
            for names in ("kept", "seen"):
                for contents in ("kept", "seen"):
                    shutil.rmtree(folder, ignore_errors=True)
                    _lay_out(tree, folder, names, contents)
                    yield f"{last}, names {names}, contents {contents}", folder

    def _replayed(self, length: int) -> Node:
        tree = _folder()
        for path, content in self._before.items():
            _entries(_at(tree, path.parent))[path.name] = _folder() if content is None else Node(content, content)
        _sync_all(tree)
        for kind, path, detail in self.log[:length]:
            _apply(tree, kind, path, detail)
        return tree


def _at(tree: Node, path: Path) -> Node:
    for part in path.parts:
        tree = _entries(tree)[part]
    return tree


def _entries(node: Node) -> dict[str, Node]:
    assert isinstance(node.seen, dict)
    return node.seen


def _sync_all(node: Node) -> None:
    node.kept = dict(node.seen) if isinstance(node.seen, dict) else node.seen
    if isinstance(node.seen, dict):
        for child in node.seen.values():
            _sync_all(child)


def _apply(tree: Node, kind: str, path: Path, detail: object) -> None:
    siblings = _entries(_at(tree, path.parent)) if path.parts else {}
    if kind == "create":
        siblings[path.name] = Node(b"", b"")
    elif kind == "mkdir":
        siblings[path.name] = _folder()
    elif kind == "write":
        siblings[path.name].seen += detail
    elif kind == "truncate":
        siblings[path.name].seen = siblings[path.name].seen[:detail]
    elif kind == "fsync":
        node = _at(tree, path)
        node.kept = dict(node.seen) if isinstance(node.seen, dict) else node.seen
    elif kind == "rename":
        _entries(_at(tree, detail.parent))[detail.name] = siblings.pop(path.name)
    elif kind == "remove":
        siblings.pop(path.name)


def _lay_out(node: Node, place: Path, names: str, contents: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, child in getattr(node, names).items():
        if isinstance(child.seen, dict):
            _lay_out(child, place / name, names, contents)
        else:
            (place / name).write_bytes(getattr(child, contents))
