"""The SNIPS requests as texts with their intent and slots."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What somebody asked for; a slot that is named twice is a list, slots stand in the order of their mention."""

    text: str
    intent: str
    slots: Mapping[str, str | list[str]]


def requests(folder: Path, *, test: bool) -> list[Request]:
    """All requests of one side, in an order that a seed decides."""
    found: list[Request] = []
    for file in sorted(folder.glob("validate_*.json" if test else "train_*_full.json")):
        raw = file.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        ((intent, utterances),) = json.loads(text).items()
        found += [_request(intent, utterance["data"]) for utterance in utterances]
    random.Random(0).shuffle(found)
    return found


def _request(intent: str, parts: list[dict[str, str]]) -> Request:
    slots: dict[str, list[str]] = {}
    for part in parts:
        if "entity" in part:
            slots.setdefault(part["entity"], []).append(part["text"].strip())
    plain = {name: values if len(values) > 1 else values[0] for name, values in slots.items()}
    return Request(" ".join("".join(part["text"] for part in parts).split()), intent, plain)
