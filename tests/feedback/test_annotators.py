"""Planted habits are found, by name, and honest people are not accused."""

from __future__ import annotations

import random

from etude.feedback.annotators import Annotator, Name, annotators
from etude.feedback.judgements import Judgement, choices, grades
from etude.feedback.layouts import judgement
from etude.feedback.report import report
from etude.records import Origin
from tests.feedback.judged import votes


def read(rows: list[dict[str, object]]) -> list[Judgement]:
    return [judgement(row, Origin("rows", line)) for line, row in enumerate(rows, start=1)]


def odd(people: list[Annotator], name: Name) -> list[str]:
    return [one.name for one in people if name in one.measures and one.measures[name].is_odd]


def measured(rows: list[dict[str, object]]) -> list[Annotator]:
    told = read(rows)
    return annotators(choices(one for one in told if one.kind == "choice"), grades(told))


def test_who_always_takes_the_first_is_found() -> None:
    people = {"ann": 0.9, "bo": 0.9, "cy": 0.9, "side": 0.9}
    found = measured(votes(people, sides={"side": 0.7}, items=150, seed=3))
    assert odd(found, "first_shown") == odd(found, "against_the_others") == ["side"]
    assert odd(found, "longer") == []


def test_who_takes_the_longer_one_is_found() -> None:
    rows = votes({"ann": 0.9, "bo": 0.9, "cy": 0.9, "long": 0.9}, items=150, seed=2)
    for row in rows:
        if row["annotator"] == "long":
            row["preference"] = 1 if len(row["answer_a"]) > len(row["answer_b"]) else 2
    found = measured(rows)
    assert odd(found, "longer") == ["long"]
    assert "long" not in odd(found, "first_shown")


def test_honest_people_are_seldom_accused() -> None:
    """Six people in twenty data sets: an accusation is due in one of twenty for each of three measures."""
    accused = 0
    for seed in range(20):
        found = measured(votes(dict.fromkeys("abcdef", 0.8), items=60, seed=seed))
        accused += any(odd(found, name) for name in ("first_shown", "longer", "against_the_others"))  # type: ignore[arg-type]
    assert accused <= 5


def test_who_grades_high_is_found() -> None:
    draw = random.Random(0)
    rows: list[dict[str, object]] = []
    for item in range(60):
        true = draw.choice([1, 2, 3, 4])
        for name in ("ann", "bo", "mild"):
            rating = true + draw.choice([-1, 0, 0, 1]) + (name == "mild")
            rows.append({"prompt": f"q{item}", "answer": f"a{item}", "rating": rating, "annotator": name, "seconds": 5})
    found = measured(rows)
    by_name = {one.name: one for one in found}
    assert "mild" in odd(found, "leniency")
    assert by_name["mild"].measures["leniency"].low > 0.5
    assert by_name["mild"].seconds == 5


def test_the_same_item_again() -> None:
    rows = [
        {"prompt": "q", "answer_a": "x", "answer_b": "y", "preference": vote, "annotator": "ann"} for vote in (1, 1, 2)
    ]
    (ann,) = measured(rows)
    assert (ann.measures["same_again"].value, ann.measures["same_again"].n) == (0.5, 2)
    flipped = [*rows[:1], {"prompt": "q", "answer_a": "y", "answer_b": "x", "preference": 2, "annotator": "ann"}]
    assert measured(flipped)[0].measures["same_again"].value == 1


def test_the_report_says_what_stands_out() -> None:
    people = {"ann": 0.9, "bo": 0.9, "cy": 0.9, "side": 0.9}
    found = report(read(votes(people, sides={"side": 0.7}, items=150)))
    said = found.sentences()
    assert said[0].startswith(("comparisons: fair agreement, alpha 0.", "comparisons: weak agreement, alpha 0."))
    assert any(line.startswith("side takes the answer shown first in ") for line in said)
    assert not any(line.startswith(("ann takes", "bo takes", "cy takes")) for line in said)
    values = found.as_dict()
    assert 145 < values["parts"][0]["items"] <= 150
    assert {one["name"] for one in values["annotators"]} == set(people)
