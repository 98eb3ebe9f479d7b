"""Rows of a data set on the Hugging Face hub, through the `datasets` library (scripts are never run)."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from etude import durable
from etude.data.fetched import Allowance, kept
from etude.errors import DataError, EtudeError

PATIENCE_SECONDS = 5.0
ROWS = "rows.jsonl"


@dataclass(frozen=True, slots=True)
class HubName:
    """`org/name`, `org/name:config`, `org/name#split` or all three."""

    name: str
    config: str | None
    split: str | None


@cache
def fetch(hub: HubName) -> tuple[Path, str]:
    """The split asked for (default `train`, or the only one) as JSON lines, kept as what URLs give is, and its name.

    Raises:
        DataError: soon, when it cannot be had; it is larger than is allowed, or empty.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not reachable(constants.ENDPOINT):
        raise _offline(hub, f"{constants.ENDPOINT} cannot be reached")
    held, split = _loaded(hub)
    name = f"hub:{hub.name}{f':{hub.config}' if hub.config else ''}#{split}"
    rows = held[split]
    if not len(rows):
        raise DataError("the data set has no rows", where=name, remedy="choose another split or data set")
    version = sorted(str(file["filename"]) for file in rows.cache_files) or None
    return kept(name, version, lambda folder: _write(rows, folder, name)) / ROWS, name


def _loaded(hub: HubName) -> tuple[Any, str]:
    """All splits, and the name of the one that is wanted."""
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        size = datasets.load_dataset_builder(hub.name, hub.config).info.download_size
        Allowance(hub.name).take(size or 0)  # before a byte of it comes
        held = datasets.load_dataset(hub.name, hub.config)
    except ConnectionError as error:
        raise _offline(hub, "offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else str(error)) from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, HfHubHTTPError) as error:
        if isinstance(error, EtudeError):
            raise
        reason = str(error).strip().splitlines()[0][:300]
        remedy = "check the name and configuration (`name:configuration`); log in with `hf auth login` if it is gated"
        raise DataError(f"the hub data set cannot be loaded: {reason}", where=hub.name, remedy=remedy) from None
    splits = list(held)
    split = hub.split or ("train" if "train" in splits else splits[0] if len(splits) == 1 else None)
    if split is None or split not in splits:
        raise DataError(
            f"has no split {split!r}" if split else "has several splits and none is called train",
            where=hub.name,
            remedy=f"choose one of {', '.join(splits)}, as in {hub.name}#{splits[0]}",
        )
    return held, split


def _write(rows: Iterable[object], folder: Path, name: str) -> None:
    """Each row as a line of JSON; what JSON does not know as its text."""
    allowance = Allowance(name)
    with durable.writing(folder / ROWS) as put:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
            allowance.take(len(line))
            put(line)


def reachable(endpoint: str) -> bool:
    """Whether the hub answers at all, within five seconds."""
    if not endpoint.startswith(("https://", "http://")):
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    return True


def _offline(hub: HubName, reason: str) -> DataError:
    return DataError(
        f"no file or folder of this name, and as a hub data set it cannot be loaded: {reason}",
        where=hub.name,
        remedy="give a local file, or load it once online and then set HF_HUB_OFFLINE=1 to use the cached copy",
    )
