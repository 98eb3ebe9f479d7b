"""Checkpoints that are there whole or not at all, and belong to one run.

Commit: write everything into `.tmp-…`, each file synced and hashed on its way; manifest; sync; rename to
`step-<number>`; sync the parent; only then rotate, among this run's own checkpoints. Whoever dies in between leaves a
`.tmp-…` or `.trash-…` folder, which the next commit or find sweeps away. No pickle: safetensors and JSON.

    step-00000100/
      weights.safetensors optimizer.safetensors rng.safetensors …   one file for each first part of the tensors' names
      state.json       the facts
      manifest.json    run, step, identity, sha256 and size of each file
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude import durable, faults
from etude.errors import CheckpointError, EtudeError, RunError, StorageError
from etude.runs.manifest import FileEntry
from etude.training import tensor_file
from etude.training.checkpoint_manifest import CheckpointManifest
from etude.training.ranks import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from etude.training.ranks import Ranks

FACTS = "state.json"
SPACE_FACTOR = 1.2
"""Room that must be free before a commit begins, in sizes of the checkpoint."""


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on as if it had never stopped."""

    step: int
    tensors: Mapping[str, Tensor]
    """By name `group/rest`: weights/…, optimizer/…, rng/…"""
    facts: Mapping[str, Any]
    """Plain JSON values: data cursor, losses, best so far, bytes of the logs that belong to this state."""


@dataclass(frozen=True, slots=True)
class Found:
    """The checkpoint to go on from."""

    path: Path
    step: int
    skipped: tuple[str, ...] = ()
    """What was passed over, and why: one line each, to be shown."""


def commit(
    folder: Path,
    state: TrainState,
    *,
    run_id: str,
    fence: Callable[[], None] | None,
    keep: int,
    protect: Collection[int] = (),
    identity: Mapping[str, str],
) -> Path:
    """Save the state below `<run>/checkpoints` and return its folder; afterwards keep the newest `keep` sound ones.

    `fence` raises when this process has lost the run to another (`Lease.check`); it is asked before each step that
    others could see. `protect` names steps that rotation spares (the best). `identity` is what `find` will insist on.
    Raises CheckpointError when the disk refuses (nothing half-written stays, older checkpoints are untouched), and
    lets the fence's RunError through.
    """
    assert keep >= 1, "at least one checkpoint stays"
    contents = _contents(state)
    try:
        durable.make_directory(folder, exist_ok=True)
        _guard(fence)
        _sweep(folder)
        before, _, _ = _listing(folder, run_id)
        size = max([tensor_file.num_bytes(state.tensors), *(one.num_bytes for _, one in before[:1])])
        durable.require_space(folder, int(SPACE_FACTOR * size))
        sequence = 1 + max((manifest.sequence for _, manifest in before), default=0)
        path = _publish(folder, state.step, contents, fence=fence, run_id=run_id, sequence=sequence, identity=identity)
    except StorageError as error:
        raise CheckpointError(
            f"step {state.step} was not saved, older checkpoints are intact: {error.found}",
            where=str(folder),
            remedy=error.remedy,
        ) from error
    try:
        faults.point("checkpoint.after_rename")
        _rotate(folder, run_id, keep=keep, protect=protect, fence=fence)
    except StorageError as error:
        raise CheckpointError(
            f"step {state.step} is saved, but older checkpoints could not be removed: {error.found}",
            where=str(folder),
            remedy=error.remedy,
        ) from error
    return path


def commit_together(
    ranks: Ranks,
    folder: Path,
    state: TrainState,
    *,
    run_id: str,
    fence: Callable[[], None] | None,
    keep: int,
    protect: Collection[int] = (),
    identity: Mapping[str, str],
) -> Path:
    """`commit` for weights that every rank holds whole: the main rank writes, once all hashes of weights/ agree.

    All ranks return, or raise the same kind of error, together. Every rank must have the folder on a shared disk only
    if it is to resume from it; state of single ranks (their random generators) is gathered by the caller.
    """
    if ranks.world > 1:  # one rank agrees with itself, and the hash of all weights takes its time
        held = {name: tensor for name, tensor in state.tensors.items() if name.startswith("weights/")}
        ranks.agree(held, what="weights")
    name = _by_main(
        ranks,
        lambda: commit(folder, state, run_id=run_id, fence=fence, keep=keep, protect=protect, identity=identity).name,
    )
    return folder / str(name)


def find(folder: Path, *, run_id: str, identity: Mapping[str, str], step: int | None = None) -> Found | None:
    """The newest sound checkpoint of this run, or exactly the one of `step`; None when the run has none yet.

    For the process that holds the run's lease: leftovers of a commit that died are swept away. A damaged checkpoint is
    passed over and told in `skipped`; an asked-for step is never replaced by another. Raises CheckpointError when
    `identity` differs from the checkpoint's, when the asked-for step is missing or damaged, and when checkpoints are
    there but none can be used.
    """
    if folder.is_dir():
        _sweep(folder)
    ours, foreign, unreadable = _listing(folder, run_id)
    if step is not None and all(manifest.step != step for _, manifest in ours):
        there = ", ".join(str(manifest.step) for _, manifest in ours) or "none"
        raise CheckpointError(f"no checkpoint of step {step} (there: {there})", where=str(folder))
    damaged = list(unreadable)
    for path, manifest in ours:
        if step is not None and manifest.step != step:
            continue
        manifest.require(identity, where=path)
        damage = manifest.damage(path)
        if damage is None:
            return Found(path, manifest.step, (*damaged, *foreign))
        if step is not None:
            raise CheckpointError(f"damaged: {damage}", where=str(path), remedy="resume without naming a step")
        damaged.append(f"{path.name}: {damage}")
    if damaged:
        raise CheckpointError(
            f"no usable checkpoint: {'; '.join([*damaged, *foreign])}",
            where=str(folder),
            remedy="start the run again in a new folder",
        )
    return None


def find_together(
    ranks: Ranks, folder: Path, *, run_id: str, identity: Mapping[str, str], step: int | None = None
) -> Found | None:
    """`find` by the main rank, told to all of them, so that they go on from the same place; `skipped` on the main one.

    All ranks return, or raise the same kind of error, together.
    """
    skipped: tuple[str, ...] = ()

    def search() -> list[str | int] | None:
        nonlocal skipped
        found = find(folder, run_id=run_id, identity=identity, step=step)
        if found is None:
            return None
        skipped = found.skipped
        return [found.path.name, found.step]

    told = _by_main(ranks, search)
    return None if told is None else Found(folder / str(told[0]), int(told[1]), skipped)


def restore(path: Path) -> TrainState:
    """Read a checkpoint, every byte checked against its hash; tensors on the CPU. Raises CheckpointError."""
    manifest = CheckpointManifest.load(path)
    damage = manifest.damage(path)
    if damage is not None:
        raise CheckpointError(damage, where=str(path))
    tensors = {
        f"{name.removesuffix('.safetensors')}/{rest}": tensor
        for name in manifest.files
        if name.endswith(".safetensors")
        for rest, tensor in tensor_file.read(path / name).items()
    }
    return TrainState(manifest.step, tensors, json.loads((path / FACTS).read_bytes()))


def steps(folder: Path, *, run_id: str) -> list[int]:
    """Steps of this run's checkpoints, newest first, by their manifests alone; touches nothing."""
    return [manifest.step for _, manifest in _listing(folder, run_id)[0]]


def digest(state: TrainState) -> str:
    """sha256 over step, tensors and facts: two runs with equal digests stand at the same point, bit for bit."""
    facts = json.dumps(state.facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{state.step} {facts} {digest_of(state.tensors)}".encode()).hexdigest()


def _by_main(ranks: Ranks, work: Callable[[], Any]) -> Any:
    """What the main rank's work gives (plain JSON), on all ranks; what it raises for users is raised on all of them."""
    outcome, failure = None, None
    if ranks.is_main:
        try:
            outcome = work()
        except EtudeError as error:
            failure = error
    kinds = (CheckpointError, RunError, EtudeError)
    kind = next((at for at, one in enumerate(kinds) if isinstance(failure, one)), None)
    told = json.loads(ranks.tell(json.dumps([outcome, kind, str(failure)])))
    if failure is not None:
        raise failure
    if told[1] is not None:
        raise kinds[told[1]](told[2])
    return told[0]


def _contents(state: TrainState) -> dict[str, Mapping[str, Tensor] | bytes]:
    """File name → tensors or bytes, in the order of writing."""
    text = json.dumps(state.facts, allow_nan=False, ensure_ascii=False, indent=1)
    if json.loads(text) != state.facts:
        raise TypeError("facts must be plain JSON values (lists, not tuples; text keys), or a resume would see others")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.tensors.items():
        group, slash, rest = name.partition("/")
        if not (slash and rest and re.fullmatch(r"[a-z][a-z0-9_]*", group)):
            raise ValueError(f"tensor name {name!r} is not of the form group/rest")
        groups.setdefault(group, {})[rest] = tensor
    return {**{f"{group}.safetensors": tensors for group, tensors in groups.items()}, FACTS: text.encode()}


def _publish(
    folder: Path,
    step: int,
    contents: Mapping[str, Mapping[str, Tensor] | bytes],
    *,
    fence: Callable[[], None] | None,
    run_id: str,
    sequence: int,
    identity: Mapping[str, str],
) -> Path:
    faults.point("checkpoint.before_mkdir")
    temporary = folder / f".tmp-{step:08d}-{secrets.token_hex(4)}"
    try:
        durable.make_directory(temporary)
        files = {name: _write(temporary / name, content) for name, content in contents.items()}
        faults.point("checkpoint.after_files")
        manifest = CheckpointManifest.new(run_id=run_id, step=step, sequence=sequence, identity=identity, files=files)
        manifest.save(temporary)
        faults.point("checkpoint.after_manifest")
        _guard(fence)
        path = _free_name(folder, step)
        durable.replace(temporary, path)
    except BaseException:
        with suppress(StorageError):
            durable.remove(temporary)
        raise
    return path


def _write(path: Path, content: Mapping[str, Tensor] | bytes) -> FileEntry:
    whole = hashlib.sha256()
    size = 0

    def counted(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        nonlocal size
        for piece in pieces:
            whole.update(piece)
            size += len(piece)
            yield piece
            faults.point("checkpoint.mid_file")

    durable.write_chunks(path, counted([content] if isinstance(content, bytes) else tensor_file.pieces(content)))
    return FileEntry(whole.hexdigest(), size)


def _free_name(folder: Path, step: int) -> Path:
    """`step-<number>`, with a suffix when a damaged, older or foreign checkpoint has the name: nothing is replaced."""
    path = folder / f"step-{step:08d}"
    attempt = 1
    while path.exists():
        path = folder / f"step-{step:08d}.{attempt}"
        attempt += 1
    return path


def _guard(fence: Callable[[], None] | None) -> None:
    if fence is not None:
        fence()


def _sweep(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if re.fullmatch(r"\.(tmp|trash)-.+", path.name):
            durable.remove(path)


def _listing(
    folder: Path, run_id: str
) -> tuple[list[tuple[Path, CheckpointManifest]], tuple[str, ...], tuple[str, ...]]:
    """This run's checkpoints, newest first; a line for each of another run; a line for each unreadable one."""
    ours: list[tuple[Path, CheckpointManifest]] = []
    foreign: list[str] = []
    unreadable: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = CheckpointManifest.load(path)
        except CheckpointError as error:
            unreadable.append(f"{path.name}: {error.found}")
            continue
        if manifest.run_id == run_id:
            ours.append((path, manifest))
        else:
            foreign.append(f"{path.name}: belongs to run {manifest.run_id}")
    ours.sort(key=lambda one: one[1].sequence, reverse=True)
    return ours, tuple(foreign), tuple(unreadable)


def _rotate(
    folder: Path, run_id: str, *, keep: int, protect: Collection[int], fence: Callable[[], None] | None
) -> None:
    """Remove this run's checkpoints older than its newest `keep` sound ones; what cannot be read is left alone."""
    sound = 0
    for path, manifest in _listing(folder, run_id)[0]:
        if sound < keep:
            # every byte is read again: what is kept in place of an older one must be whole
            sound += manifest.damage(path) is None
        elif manifest.step not in protect:
            _guard(fence)
            trash = folder / f".trash-{path.name}-{secrets.token_hex(4)}"
            durable.replace(path, trash)
            faults.point("checkpoint.in_rotation")
            durable.remove(trash)
