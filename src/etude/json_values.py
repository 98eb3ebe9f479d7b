"""Answers and references as JSON values: read strictly, taken apart, compared; and values as hashes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def parse_object(text: str) -> dict[str, Any] | None:
    """The object that the text is, white space apart; None for anything else, key given twice and NaN included."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_sha256(value: object) -> str:
    """Hex sha256 of a JSON-able value: the same in every process, in whatever order its keys were put in.

    What is kept of earlier work goes by such names. Raises TypeError for what JSON cannot say, so that no object's
    address gets in.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def flatten(value: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Path → value for every leaf; lists and empty objects are leaves."""
    leaves: dict[tuple[str, ...], Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            leaves |= flatten(inner, (*above, name))
        else:
            leaves[*above, name] = inner
    return leaves


def same(first: Any, second: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, but true is not 1 and "1" is not 1; texts character for character."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, float) and isinstance(second, float) and math.isinf(first):
        return False  # 1e999 is read as infinity: the number that was written is not known
    return bool(first == second)
