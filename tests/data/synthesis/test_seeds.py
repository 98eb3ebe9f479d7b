"""Passages lose no word; draws depend on their numbers alone."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from etude.data.inputs import open_inputs
from etude.data.synthesis.seeds import Seeds, passages, take_seeds
from etude.data.work import Ledger, Rows, lines_of


@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 40))
def test_passages_hold_every_letter_in_order_and_are_short_enough(text: str, longest: int) -> None:
    found = passages(text, longest)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(piece) <= longest for piece in found)


def taken(path: Path) -> tuple[Seeds, dict[str, int]]:
    with lines_of(path.with_suffix(".dropped")) as left_out:
        ledger = Ledger(left_out)
        return take_seeds(Rows(open_inputs([path]), ledger), ledger, longest=50, seed=0), dict(ledger.dropped)


def test_only_single_questions_with_answers_are_seeds(tmp_path: Path) -> None:
    def row(*said: tuple[str, str]) -> str:
        return json.dumps({"messages": [{"role": role, "content": text} for role, text in said]})

    path = tmp_path / "rows.jsonl"
    lines = [
        row(("system", "Be brief."), ("user", "one?"), ("assistant", '{"a": 1}')),
        row(("user", "two?"), ("assistant", '{"b": 2}')),
        row(("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "w")),
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    seeds, dropped = taken(path)
    assert [(seed.prompt, seed.system and seed.system.text) for seed in seeds.drawn] == [
        ("one?", "Be brief."),
        ("two?", None),
    ]
    assert dropped == {"no seed: not one question with its answer": 1}
    assert seeds.fields == {"a", "b"}
    assert seeds.draw(4, 2, 7) == seeds.draw(4, 2, 7)
    assert {seed.prompt for seed in seeds.draw(4, 2, 7)} == {"one?", "two?"}


def test_every_passage_is_drawn_before_one_is_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n} " * 8}) + "\n" for n in range(3)), "utf-8")
    seeds, _ = taken(path)
    assert seeds.documents
    number = len(seeds.drawn)
    assert number > 3
    once = [seeds.draw(attempt, 3, 0)[0].prompt for attempt in range(number)]
    assert sorted(once) == sorted(seed.prompt for seed in seeds.drawn)
