"""Leaks: every planted one is found, ordinary rows are not suspected."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.cli.main import main
from etude.data.decontaminate import Decontaminate
from etude.data.inputs import open_inputs
from etude.data.leaks import LeakFinder
from etude.data.sides import Sides
from etude.data.work import dropped_of, work
from tests.data.test_clean import edited
from tests.data.test_near import WORDS


def text(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def leaks(items: list[Sides], rows: list[Sides], ngram: int = 13) -> dict[int, int]:
    """Row → the item that it gives away."""
    finder = LeakFinder(items, ngram=ngram, threshold=0.8)
    for row in rows:
        finder.take(row)
    return {row: leak.item for row, leak in finder.finish().items()}


@settings(max_examples=10)
@given(st.integers(0, 100_000), st.sampled_from([8, 13]))
def test_every_planted_leak_is_found_and_nothing_else(seed: int, ngram: int) -> None:
    rng = random.Random(seed)
    items = [Sides(text(rng, 6, 40), text(rng, 1, 30)) for _ in range(40)]
    rows = [Sides(text(rng, 6, 40), text(rng, 1, 30)) for _ in range(100)]
    planted: dict[int, int] = {}
    for place in rng.sample(range(100), 15):
        item = rng.randrange(40)
        asked = items[item].prompt
        match rng.randrange(4):
            case 0:  # word for word, in other case and punctuation
                rows[place] = Sides(asked.upper().replace(" ", ", "), "yes")
            case 1:  # inside a longer prompt
                rows[place] = Sides(f"{text(rng, 5, 20)} {asked} {text(rng, 5, 20)}", "no")
            case 2:  # in the answer
                rows[place] = Sides(text(rng, 5, 9), f"{text(rng, 5, 9)} {asked}")
            case 3:  # only a part, of just the forbidden length
                words = asked.split()
                start = rng.randrange(max(1, len(words) - ngram + 1))
                rows[place] = Sides(" ".join([*rng.choices(WORDS, k=6), *words[start : start + ngram]]), "")
        planted[place] = item
    assert leaks(items, rows, ngram) == planted


def test_near_copies_of_long_prompts_are_leaks_without_a_run_in_common() -> None:
    rng = random.Random(0)
    words = rng.choices(WORDS, k=60)
    changed = [word if at % 10 else f"{word}s" for at, word in enumerate(words)]
    assert leaks([Sides(" ".join(words), "")], [Sides(" ".join(changed), ""), Sides(text(rng, 60, 60), "")]) == {0: 0}


def test_answers_count_only_where_they_are_long() -> None:
    rng = random.Random(1)
    answer = text(rng, 13, 13)
    items = [Sides(text(rng, 9, 9), answer), Sides(text(rng, 9, 9), "the answer is yes of course")]
    rows = [Sides("x", f"so {answer}"), Sides("y", "the answer is yes of course")]
    assert leaks(items, rows) == {0: 0}


def test_what_all_items_say_gives_nothing_away() -> None:
    rng = random.Random(2)
    instruction = text(rng, 30, 30)
    items = [Sides(f"{instruction} {text(rng, 8, 20)}", "") for _ in range(50)]
    rows = [Sides(f"{instruction} {text(rng, 8, 20)}", "") for _ in range(50)]
    rows.append(items[7])
    assert leaks(items, rows) == {50: 7}


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    asked = "一只猫坐在窗边看着外面的雨慢慢地停下来"
    assert leaks([Sides(asked, "")], [Sides(f"请回答：{asked}吗", ""), Sides("今天天气很好我们去公园散步吧", "")]) == {
        0: 0
    }


def test_very_short_items_are_compared_as_wholes() -> None:
    items = [Sides("Who are you?", "")]
    rows = [Sides("Tell me: who are you and what is it that you want of me tonight?", ""), Sides("who are  YOU?", "")]
    assert leaks(items, rows) == {1: 0}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_the_step_drops_or_reports(tmp_path: Path) -> None:
    rng = random.Random(3)
    asked = [text(rng, 10, 30) for _ in range(20)]
    evaluation = write(tmp_path / "eval.jsonl", [{"question": each} for each in asked])
    rows = [{"prompt": text(rng, 10, 30), "completion": "yes"} for _ in range(100)]
    rows[40]["prompt"] = edited(asked[3], random.Random(9)) + " " + asked[3]
    path = write(tmp_path / "rows.jsonl", rows)
    dropping = work(open_inputs([path]), Decontaminate(against=(str(evaluation),)), tmp_path / "a.jsonl")
    assert dropping.dropped == {"leak": 1}
    [dropped] = [json.loads(line) for line in dropped_of(tmp_path / "a.jsonl").read_text().splitlines()]
    assert (dropped["line"], dropped["evaluation"]) == (41, f"{evaluation}:4")
    assert "1 rows give away 1 of the 20 items" in dropping.says[0]
    step = Decontaminate(against=(str(evaluation),), leaks="report")
    reporting = work(open_inputs([path]), step, tmp_path / "b.jsonl")
    assert reporting.rows_out == 100
    assert reporting.notes["leaks"]["rows"] == 1


@pytest.mark.realdata
def test_banking77_leaks_into_its_own_test_set(
    realdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = realdata / "banking77"
    command = ["data", "decontaminate", str(folder / "train.csv"), "--columns", "prompt=text", "completion=category"]
    assert main([*command, "--against", str(folder / "test.csv"), "-o", str(tmp_path / "out.jsonl")]) == 0
    assert "of the 3,080 items" in capsys.readouterr().out
    dropped = dropped_of(tmp_path / "out.jsonl").read_text().splitlines()
    assert 200 <= len(dropped) <= 600
