"""Cleaning: planted copies go and nothing else, texts become uniform, unusable rows are set aside with a reason."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.cli.main import main
from etude.data.clean import Clean
from etude.data.inputs import open_inputs
from etude.data.normalize import CHANGES, normalized
from etude.data.work import Outcome, dropped_of, work
from etude.errors import DataError
from tests.data.test_near import WORDS

ALL = tuple(CHANGES)


def cleaned(rows: list[dict[str, object]], folder: Path, step: Clean | None = None) -> tuple[Outcome, list, list]:
    """The outcome, the rows that stayed, what was dropped."""
    path, out = folder / "rows.jsonl", folder / "out.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    outcome = work(open_inputs([path]), step or Clean(), out, force=True)
    return outcome, *([json.loads(line) for line in p.read_text().splitlines()] for p in (out, dropped_of(out)))


def pair(prompt: str, answer: str = "yes, of course") -> dict[str, object]:
    return {"prompt": prompt, "completion": answer}


@pytest.mark.parametrize(
    ("given", "wanted", "change"),
    [
        ("CafÃ© â€œhiâ€\x9d", "Café “hi”", "encoding"),
        ("cafe\u0301", "caf\u00e9", "unicode"),
        ("a\u200bb\x00c\ufeff", "abc", "controls"),
        ("👨\u200d👩\u200d👧 می\u200cخواهم", "👨\u200d👩\u200d👧 می\u200cخواهم", "controls"),
        ("a  \r\n\r\n\r\n\r\n\r\nb\u00a0c ", "a\n\n\nb c", "spaces"),
        ("def f():\n    return  1\n", "def f():\n    return  1", "spaces"),
        ("Tom &amp; Jerry &#39;s &copy;", "Tom & Jerry 's ©", "entities"),
        ("<b>a &amp; b</b>", "<b>a &amp; b</b>", "entities"),
        ('{"a": "&quot;"}', '{"a": "&quot;"}', "entities"),
    ],
)
def test_each_change_does_one_thing(given: str, wanted: str, change: str) -> None:
    assert CHANGES[change][0](given) == wanted


@given(st.text())
def test_what_is_uniform_stays_as_it_is(text: str) -> None:
    once = normalized(text, ("controls", "unicode", "spaces"), set())
    assert normalized(once, ("controls", "unicode", "spaces"), set()) == once


@given(st.text(st.characters(max_codepoint=126, min_codepoint=33)))
def test_plain_words_are_left_alone(text: str) -> None:
    assert normalized(text, ("encoding", "controls", "unicode", "spaces"), set()) == text


def edited(text: str, rng: random.Random) -> str:
    """What people's copies look like: a word more, less or other, a typing mistake, other case and punctuation."""
    words = text.split()
    at = rng.randrange(len(words))
    match rng.randrange(5):
        case 0:
            words[at] = rng.choice(WORDS)
        case 1:
            words.insert(at, rng.choice(WORDS))
        case 2:
            del words[at]
        case 3:
            words[at] = words[at][1:] + words[at][:1]
        case 4:
            words[at] = f"{words[at].upper()}!"
    return " ".join(words)


@pytest.mark.parametrize("keep", ["first", "longest"])
def test_planted_copies_go_and_nothing_else(keep: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    originals = [" ".join(rng.choices(WORDS, k=rng.randint(15, 50))) for _ in range(800)]
    rows = [pair(text) for text in originals]
    planted = rng.sample(range(len(originals)), 200)
    rows += [pair(edited(originals[at], rng)) for at in planted]
    rows += [pair(f" {originals[at].upper()}  ") for at in planted[:50]]
    outcome, kept, dropped = cleaned(rows, tmp_path, Clean(keep=keep))  # type: ignore[arg-type]
    assert outcome.dropped["copy"] == 50
    assert outcome.dropped["near copy"] >= 198, "recall"
    if keep == "first":
        assert kept[:800] == rows[:800], "precision"
        assert {int(row["of"].rpartition(":")[2]) - 1 for row in dropped} <= set(planted)
        assert min(row["alike"] for row in dropped) >= 0.8
    else:
        assert sum(len(str(row["prompt"])) for row in kept) >= sum(map(len, originals))


def test_rows_with_another_answer_are_no_copies(tmp_path: Path) -> None:
    question = "what is the capital of the country in the north"
    rows = [pair(question, "the city of oslo"), pair(question, "stockholm"), pair(f"{question}?", "the city of oslo")]
    outcome, kept, _ = cleaned(rows, tmp_path)
    assert kept == rows[:2]
    assert outcome.notes["conflicts"]["rows"] == 2
    assert "2 rows have (nearly) the prompt of another and a different answer" in outcome.says[0]
    outcome, kept, _ = cleaned([*rows, pair("something else entirely")], tmp_path, Clean(conflicts="drop"))
    assert kept == [pair("something else entirely")]
    assert outcome.dropped == {"conflicting answer": 2, "near copy": 1}
    outcome, kept, _ = cleaned(rows, tmp_path, Clean(compare="prompt"))
    assert kept == rows[:1]
    outcome, kept, _ = cleaned(rows, tmp_path, Clean(compare="answer"))
    assert kept == rows[:2]


def test_answers_whose_numbers_differ_are_other_answers(tmp_path: Path) -> None:
    question = "how much is the sum of all the even numbers below"
    rows = [
        pair(question, "The sum of all the numbers is 2450."),
        pair(question, "The sum of all the numbers is 2550."),
    ]
    assert cleaned(rows, tmp_path)[0].rows_out == 2


def test_unusable_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    rows = [pair("hello there"), {"prompt": "no answer"}, pair("blank", " \u200b "), {"prompt": 3, "completion": "x"}]
    outcome, kept, dropped = cleaned(rows, tmp_path)
    assert kept == rows[:1]
    assert outcome.dropped == {"unusable": 3}
    assert [row["line"] for row in dropped] == [2, 3, 4]
    assert dropped[1]["found"] == "no answer: completion is empty"


def test_unknown_columns_and_identifiers_stay(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a  \n"}, {"role": "assistant", "content": "b", "name": "x "}]}
    outcome, kept, _ = cleaned([{**row, "id": " 7 ", "extra": {"k": " v "}}], tmp_path)
    assert kept == [{
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "x "}],
        "id": " 7 ", "extra": {"k": " v "},
    }]  # fmt: skip
    assert outcome.changed == {"white space made uniform": 1}


def test_everything_can_be_switched_off(tmp_path: Path) -> None:
    rows = [pair("a  "), pair("a"), pair("cafe\u0301 &amp; \x01")]
    off = Clean(copies="keep", encoding=False, entities=False, controls=False, unicode=False, spaces=False)
    assert cleaned(rows, tmp_path, off)[1] == rows
    assert cleaned(rows, tmp_path, Clean(copies="exact"))[1] == [pair("a"), pair("caf\u00e9 &")]


def test_rows_that_say_the_same_in_other_words_go_where_a_model_sees_it(tmp_path: Path) -> None:
    """The vectors stand for three meanings, so that what is decided by them is known."""
    meanings = {"where is my parcel": 0, "has the package come": 0, "cancel my card": 1, "stop the card please": 1}

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[[meanings.get(text, 2) for text in texts]]

    rows = [
        pair("Where is my parcel", "answer"), pair("Cancel my card", "word"), pair("has the package come", "answer"),
        pair("stop the card please", "reply"), pair("order 12"), pair("order 13"), pair("WHERE is my parcel", "answer"),
    ]  # fmt: skip
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    step = Clean(embedder="any", compare="prompt")
    done = work(open_inputs([path]), step, out, embed=embed)
    assert done.dropped == {"same in other words": 2, "copy": 1}
    dropped = [json.loads(line) for line in dropped_of(out).read_text().splitlines()]
    assert [(row["line"], row["of"].rpartition(":")[2]) for row in dropped] == [(3, "1"), (4, "2"), (7, "1")]
    both = work(open_inputs([path]), Clean(embedder="any"), out, embed=embed, force=True)
    assert both.dropped == {"same in other words": 2, "copy": 1}, "all answers mean the same to these vectors"
    with pytest.raises(DataError, match="no embedding model"):
        work(open_inputs([path]), step, out, force=True)
    assert dict(Clean(meaning=0.4).problems()) == {"meaning": "must be from 0.5 to 1, got 0.4"}


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,id\nwhere is it,here,1\nWhere is it ,here,2\nand now,there,3\n")
    out = tmp_path / "out.jsonl"
    assert main(["data", "clean", str(path), "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "3 rows read, 2 written" in said.out
    assert "1  copy" in said.out
    assert "looking for copies" in said.err
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["1", "3"]
    assert main(["data", "clean", str(path), "-o", str(out)]) == 2
    assert "is there already; choose another name, or add --force" in capsys.readouterr().err
    assert main(["data", "clean", str(path), "-o", str(tmp_path / "b.jsonl"), "--threshold", "2"]) == 2
    assert "--threshold: must be from 0.3 up to but below 1, got 2" in capsys.readouterr().err


@pytest.mark.realdata
def test_banking77_has_near_copies_and_contradictions(realdata: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    columns = ["--columns", "prompt=text", "completion=category"]
    assert main(["data", "clean", str(realdata / "banking77" / "train.csv"), *columns, "-o", str(out)]) == 0
    dropped = [json.loads(line) for line in dropped_of(out).read_text().splitlines()]
    assert {row["reason"] for row in dropped} == {"copy", "near copy"}
    assert 80 <= len(dropped) <= 200
