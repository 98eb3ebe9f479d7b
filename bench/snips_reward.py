"""A reward for SNIPS answers in four equal parts: naming the intent alone earns half, slots the rest."""

from __future__ import annotations

import json
from typing import Any


def slots(prompt: str, answer: str, reference: str) -> float:
    """A quarter each: one JSON object, the right intent, F1 of the slots' names, F1 of the slots with their values."""
    del prompt
    given, wanted = _object(answer), json.loads(reference)
    if given is None:
        return 0.0
    intent = float(given.pop("intent", None) == wanted.pop("intent"))
    names = given.keys() & wanted.keys()
    right = sum(given[name] == wanted[name] for name in names)
    total = len(given) + len(wanted)
    f1 = [2 * count / total if total else 1.0 for count in (len(names), right)]
    return (1 + intent + sum(f1)) / 4


def _object(answer: str) -> dict[str, Any] | None:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
