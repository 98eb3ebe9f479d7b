"""Rows of a data set on the Hugging Face hub, through the `datasets` library (scripts are never run)."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

from etude.data.check import RowError
from etude.data.rows import RawRow
from etude.data.sources import HubName
from etude.errors import DataError
from etude.records import Origin

PATIENCE_SECONDS = 5.0


def load(hub: HubName) -> list[RawRow]:
    """Every row of the split asked for (default `train`, or the only one); DataError, soon, when it cannot be had."""
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if not constants.HF_HUB_OFFLINE and not reachable(constants.ENDPOINT):
        raise _offline(hub, f"{constants.ENDPOINT} cannot be reached")
    try:
        held = datasets.load_dataset(hub.name, hub.config)
    except ConnectionError as error:
        raise _offline(hub, "offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else str(error)) from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        remedy = "check the name and configuration (`name:configuration`); log in with `hf auth login` if it is gated"
        raise DataError(f"the hub data set cannot be loaded: {reason}", where=hub.name, remedy=remedy) from None
    splits = list(held)
    split = hub.split or ("train" if "train" in splits else splits[0] if len(splits) == 1 else None)
    if split not in splits:
        raise DataError(
            f"has no split {split!r}" if split else "has several splits and none is called train",
            where=hub.name,
            remedy=f"choose one of {', '.join(splits)}, as in {hub.name}#{splits[0]}",
        )
    name = f"hub:{hub.name}{f':{hub.config}' if hub.config else ''}#{split}"
    found = [_row(row, Origin(name, number)) for number, row in enumerate(held[split], start=1)]
    if not found:
        raise DataError("the data set has no rows", where=name, remedy="choose another split or data set")
    return found


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


def _row(row: object, origin: Origin) -> RawRow:
    if not isinstance(row, dict):
        raise RowError("a hub row is not a set of columns")
    return RawRow(origin, row, json.dumps(row, ensure_ascii=False, default=str))


def _offline(hub: HubName, reason: str) -> DataError:
    return DataError(
        f"no file or folder of this name, and as a hub data set it cannot be loaded: {reason}",
        where=hub.name,
        remedy="give a local file, or load it once online and then set HF_HUB_OFFLINE=1 to use the cached copy",
    )
