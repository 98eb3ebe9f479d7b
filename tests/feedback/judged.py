"""Judgements made up for tests: people of known reliability on items of known quality."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any


def votes(
    people: Mapping[str, float],
    *,
    items: int = 120,
    share: float = 0.8,
    sides: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of two answers and a preference. A person is right with his number; `sides`: how often he takes the answer
    shown first without reading. Good answers say "good"."""
    draw = random.Random(seed)
    rows = []
    for item in range(items):
        good, bad = f"good {item} {'a' * draw.randint(0, 9)}", f"bad {item} {'b' * draw.randint(0, 9)}"
        for name, right in people.items():
            if draw.random() > share:
                continue
            flipped = draw.random() < 0.5
            first, second = (bad, good) if flipped else (good, bad)
            says_good = draw.random() < right
            told = 1 if says_good != flipped else 2
            if draw.random() < (sides or {}).get(name, 0.0):
                told = 1
            rows.append(
                {"prompt": f"question {item}", "answer_a": first, "answer_b": second, "preference": told,
                 "annotator": name}
            )  # fmt: skip
    return rows
