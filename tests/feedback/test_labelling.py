"""The log of a labelling session: whatever stops it, what was decided is there, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.errors import DataError, EtudeError
from etude.feedback.items import Item, Showing, showings
from etude.feedback.labelling import Session, opened_log
from etude.records import Message, Origin


def item(number: int) -> Item:
    answers = tuple((Message("assistant", f"{word} {number}"),) for word in ("yes", "no"))
    return Item((Message("user", f"q{number}"),), answers, Origin("rows", number))


ITEMS = [item(number) for number in range(30)]


@contextmanager
def session(path: Path, *, annotator: str = "ann", order: list[Showing] | None = None) -> Iterator[Session]:
    with opened_log(path) as log:
        order = showings(ITEMS, annotator=annotator, seed=0, repeat=0.0) if order is None else order
        yield Session(order, log, "pairs", annotator, 0)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@given(
    acts=st.lists(st.sampled_from([1, 2, "=", None, "undo"]), max_size=12),
    cut=st.integers(0, 400),
    reopen=st.integers(0, 12),
)
@settings(max_examples=40, deadline=None)
def test_a_log_cut_anywhere_goes_on_from_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, acts: list[int | str | None], cut: int, reopen: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    expected: list[int | str | None] = []
    for part in (acts[:reopen], acts[reopen:]):
        with session(path) as one:
            for act in part:
                if act != "undo":
                    one.decide(act, seconds=1.0)
                    expected.append(act)
                else:
                    assert one.undo() == bool(expected)
                    expected = expected[:-1]
            assert [row["preference"] for row in lines(path)] == expected
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = path.read_bytes().count(b"\n")
    with session(path) as one:
        assert len(one.log.rows) == kept
        assert one.current is one.showings[kept]
        one.decide("=", seconds=1.0)
    assert [row["preference"] for row in lines(path)] == [*expected[:kept], "="]


def test_two_sessions_do_not_write_one_log(tmp_path: Path) -> None:
    path, refusal = tmp_path / "log.jsonl", pytest.raises(EtudeError, match="another labelling session is writing it")
    with session(path), refusal, session(path):
        pass


def test_people_share_a_log_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with session(path) as one:
        one.decide(1, seconds=1.0)
    with session(path, annotator="bo") as one:
        assert one.counts == (0, 30, 0)
        assert not one.undo(), "the last line is somebody else's"
        one.decide(None, seconds=1.0)
        assert one.counts == (1, 30, 1)
    with session(path) as one:
        assert one.counts == (1, 30, 0)
        assert not one.undo()
    assert [row["annotator"] for row in lines(path)] == ["ann", "bo"]


def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nmore")
    with pytest.raises(DataError, match=r"notes.txt:1: is no decision; choose another file"), session(path):
        pass
    assert path.read_text() == "my notes\nmore"


def test_the_order_of_answers_is_drawn_and_recorded() -> None:
    order = showings(ITEMS, annotator="ann", seed=0, repeat=0.3)
    assert order == showings(ITEMS, annotator="ann", seed=0, repeat=0.3)
    first = [one for one in order if not one.repeat]
    assert [one.item for one in first] == ITEMS
    assert 8 <= sum(one.swapped for one in first) <= 22
    assert [one.swapped for one in first] != [
        one.swapped for one in showings(ITEMS, annotator="bo", seed=0, repeat=0.3) if not one.repeat
    ]
    again = {one.key: at for at, one in enumerate(order) if one.repeat}
    assert 2 <= len(again) <= 18
    for at, one in enumerate(order):
        if not one.repeat and one.key in again:
            assert again[one.key] > at
            assert order[again[one.key]].swapped != one.swapped


def test_one_s_own_consistency(tmp_path: Path) -> None:
    pair = item(1)
    order = [Showing(pair, pair.key, 0, False), Showing(pair, pair.key, 1, True)]
    with session(tmp_path / "log.jsonl", order=order) as one:
        one.decide(1, seconds=1.0)
        assert one.consistency == (0, 0)
        one.decide(2, seconds=1.0)
        assert one.consistency == (1, 1), "the same answer, which now stands second"
        one.undo()
        one.decide(1, seconds=1.0)
        assert one.consistency == (0, 1)
        one.undo()
        one.decide(None, seconds=1.0)
        assert one.consistency == (0, 0)
