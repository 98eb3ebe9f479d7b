"""Splitting: by group and content, the same for the same seed, copies never on both sides."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.data.read import Records
from etude.data.split import duplicates, fingerprint, split
from etude.errors import DataError
from etude.records import Conversation, Message, Origin, Text


def chats(*pairs: tuple[str, str], group: str | None = None) -> Records:
    rows = [
        Conversation((Message("user", asked), Message("assistant", answer)), Origin("a.jsonl", line), group=group)
        for line, (asked, answer) in enumerate(pairs, start=1)
    ]
    return Records(tuple(rows), "", "messages", sources=("a.jsonl",))


WORDS = st.sampled_from(["hi", "Hi ", "HI", "bye", "see  you", "see you", "one", "two", "three", "four", "five", "six"])


@given(st.lists(st.tuples(WORDS, WORDS), min_size=20, max_size=60), st.integers(0, 5), st.sampled_from([0.1, 0.3, 0.5]))
@settings(max_examples=60, deadline=None)
def test_copies_stay_together_and_nothing_is_lost(pairs: list[tuple[str, str]], seed: int, share: float) -> None:
    records = chats(*pairs, ("seven", "eight"))
    train, held = split(records, share, seed=seed)
    assert sorted([*train, *held], key=lambda row: row.origin.line) == list(records)
    assert not {fingerprint(row) for row in train} & {fingerprint(row) for row in held}
    assert len(train)
    assert len(held)
    assert duplicates(train, held)[1] == 0


def test_a_pure_function_of_content_and_seed() -> None:
    records = chats(*[(f"question {at}", f"answer {at}") for at in range(200)])
    shuffled = list(records)
    random.Random(1).shuffle(shuffled)
    moved = replace(records, rows=tuple(replace(row, origin=Origin("b.csv", 1)) for row in shuffled))
    one, other = split(records, 0.2, seed=3)[1], split(moved, 0.2, seed=3)[1]
    assert {fingerprint(row) for row in one} == {fingerprint(row) for row in other}
    assert len(one) == 40
    assert {fingerprint(row) for row in split(records, 0.2, seed=4)[1]} != {fingerprint(row) for row in one}


def test_groups_stay_together() -> None:
    rows = [Text(f"text {at}", Origin("a", at), group=f"g{at // 5}") for at in range(100)]
    train, held = split(Records(tuple(rows), "", "text"), 0.2, seed=0)
    assert not {row.group for row in train} & {row.group for row in held}
    assert 15 <= len(held) <= 25


def test_a_huge_group_is_not_held_out() -> None:
    rows = [Text(f"text {at}", Origin("a", at), group="big" if at < 90 else None) for at in range(100)]
    for seed in range(10):
        _, held = split(Records(tuple(rows), "", "text"), 0.1, seed=seed)
        assert len(held) == 10
        assert all(row.group is None for row in held)


def test_none_held_out_and_none_possible() -> None:
    records = chats(("a", "b"), ("A ", "b"))
    train, held = split(records, 0.0, seed=0)
    assert (len(train), len(held)) == (2, 0)
    with pytest.raises(DataError, match="none can be held out"):
        split(records, 0.5, seed=0)


def test_a_number_of_rows_is_no_share() -> None:
    with pytest.raises(DataError, match="holdout is a share of the rows, got 128"):
        split(chats(("a", "b"), ("c", "d")), 128, seed=0)


def test_duplicates_are_counted_but_for_case_and_space() -> None:
    assert duplicates(chats(("Hi  there", "yes"), ("hi\nthere", "YES"), ("x", "y")), chats(("X", "y"), ("z", "z"))) == (
        1,
        1,
    )
