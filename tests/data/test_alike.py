"""Near copies among records: together in a split, counted where the held-out rows are a file."""

from __future__ import annotations

import random

import pytest

from etude.data.alike import near_pairs, num_known
from etude.data.read import Records
from etude.data.split import split
from etude.errors import DataError
from etude.records import Conversation, Message, Origin
from tests.data.test_clean import edited
from tests.data.test_near import WORDS


def records(number: int, seed: int) -> Records:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=25)) for _ in range(number // 2)]
    texts += [edited(text, rng) for text in texts]
    rows = [
        Conversation((Message("user", text), Message("assistant", "yes")), Origin("a", line))
        for line, text in enumerate(texts, start=1)
    ]
    return Records(tuple(rows), "", "messages", sources=("a",))


def test_nothing_but_near_copies_cannot_be_split() -> None:
    rng = random.Random(0)
    text = " ".join(rng.choices(WORDS, k=40))
    rows = [
        Conversation((Message("user", f"{text} {word}"), Message("assistant", "yes")), Origin("a", 1))
        for word in ("one", "two", "three")
    ]
    only = Records(tuple(rows), "", "messages", sources=("a",))
    with pytest.raises(DataError, match="near_copies to 0"):
        split(only, 0.3, seed=0, near=near_pairs(only, 0.8))
    assert len(split(only, 0.3, seed=0)[1]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_near_copies_stay_together(seed: int) -> None:
    rows = records(200, seed)
    near = near_pairs(rows, 0.8)
    assert len(near) >= 98
    train, held = split(rows, 0.2, seed=seed, near=near)
    assert num_known(train, held, 0.8) == 0
    assert len(held) == 40
    train, held = split(rows, 0.2, seed=seed)
    assert num_known(train, held, 0.8) > 20, "without them they would have parted"
