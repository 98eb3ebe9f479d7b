"""Rewards that a rule decides: from 0 to 1, and down to −1 for length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from etude.errors import DataError
from etude.json_values import flatten, parse_object, same

LENGTH_FROM = 0.75
"""Share of the longest answer from which length costs."""


def exact(answer: str, reference: str) -> float:
    """1 where both are the same but for white space at the ends."""
    return float(answer.strip() == reference.strip())


def regex(answer: str, reference: str, pattern: str) -> float:
    """1 where the pattern is found; with a group, where the group's text is the one found in the reference."""
    found = re.search(pattern, answer)
    if found is None or not found.groups():
        return float(found is not None)
    wanted = re.search(pattern, reference)
    return float(found[1] == (wanted[1] if wanted else reference.strip()))


def json_parts(answer: str, reference: str, fields: tuple[str, ...]) -> float:
    """A third each: one JSON object and nothing else; F1 of the names of its fields; F1 of the fields themselves.

    Raises:
        DataError: the reference is no JSON object.
    """
    wanted_object, given_object = parse_object(reference), parse_object(answer)
    if wanted_object is None:
        raise DataError(
            f"the reference is not one JSON object: {reference[:60]!r}",
            where="rollouts.rewards",
            remedy="the reward 'json' compares with the rows' own answers",
        )
    if given_object is None:
        return 0.0
    wanted, given = (_leaves(value, fields) for value in (wanted_object, given_object))
    names = wanted.keys() & given.keys()
    right = sum(same(given[name], wanted[name]) for name in names)
    total = len(wanted) + len(given)
    return (1 + (2 * (len(names) + right) / total if total else 2.0)) / 3


def _leaves(value: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    found = {".".join(path): leaf for path, leaf in flatten(value).items()}
    inside = tuple(f"{name}." for name in fields)
    return {name: leaf for name, leaf in found.items() if not fields or name in fields or name.startswith(inside)}


def too_long(num_tokens: int, most_tokens: int) -> float:
    """0 up to three quarters of the longest answer, then down to −1 at it (https://arxiv.org/abs/2503.14476)."""
    begins = LENGTH_FROM * most_tokens
    return -min(1.0, max(0.0, (num_tokens - begins) / (most_tokens - begins)))
