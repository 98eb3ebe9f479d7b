"""Aggregation on simulated annotators: reliabilities come out, and knowing them beats counting heads."""

from __future__ import annotations

from statistics import fmean

import pytest

from etude.feedback.annotators import votes as units_of
from etude.feedback.consensus import Consensus, bradley_terry, dawid_skene, majority
from etude.feedback.judgements import Choice, choices
from etude.feedback.layouts import judgement
from etude.records import Origin
from tests.feedback.judged import votes

PEOPLE = {"ann": 0.95, "bo": 0.9, "cy": 0.55, "di": 0.55, "ed": 0.55}


def compared(rows: list[dict[str, object]]) -> list[Choice]:
    return choices(judgement(row, Origin("rows", line)) for line, row in enumerate(rows, start=1))


def right(consensus: Consensus, told: list[Choice]) -> float:
    """How often the better answer is found."""
    found = {one.key: one.first[0].text.startswith("good") == (consensus.share[one.key] > 0.5) for one in told}
    return fmean(found.values())


def test_dawid_skene_knows_whom_to_trust() -> None:
    told = compared(votes(PEOPLE, items=300, seed=1))
    units = units_of(told)
    counted, weighed = majority(units), dawid_skene(units)
    assert right(weighed, told) > right(counted, told) + 0.05
    for name, share in PEOPLE.items():
        assert weighed.reliability[name] == pytest.approx(share, abs=0.08)
    sure = [key for key, share in weighed.share.items() if abs(share - 0.5) > 0.45]
    first = {one.key: one.first[0].text.startswith("good") for one in told}
    assert fmean(first[key] == (weighed.share[key] > 0.5) for key in sure) > 0.93, "what is promised comes true"


def test_bradley_terry_learns_from_the_other_pairs_of_a_prompt() -> None:
    """Five answers each; every pair is judged by one person of five, a third of whom guess."""
    import random

    draw = random.Random(4)
    people = {"ann": 0.9, "bo": 0.9, "cy": 0.9, "di": 0.5, "ed": 0.5}
    rows = []
    for item in range(60):
        answers = [f"{quality} of {item}" for quality in range(5)]
        for better in range(5):
            for worse in range(better):
                name = draw.choice(sorted(people))
                is_right = draw.random() < people[name]
                rows.append(
                    {"prompt": f"q {item}", "answer_a": answers[better], "answer_b": answers[worse], "annotator": name,
                     "preference": "a" if is_right else "b"}
                )  # fmt: skip
    told = compared(rows)
    units = units_of(told)
    found = bradley_terry(told, units)
    truth = {one.key: one.first[0].text > one.second[0].text for one in told}
    said = fmean(truth[key] == (share > 0.5) for key, share in found.share.items())
    alone = fmean(truth[key] == (share > 0.5) for key, share in majority(units).share.items())
    assert said > alone + 0.05
    assert min(found.reliability[name] for name in ("ann", "bo", "cy")) > max(
        found.reliability[n] for n in ("di", "ed")
    )


def test_bradley_terry_s_gradient_leads_to_the_top() -> None:
    """Two answers, ten votes of eleven by people who are all alike: about nine tenths, drawn towards one half."""
    rows = [
        {"prompt": "q", "answer_a": "x", "answer_b": "y", "annotator": f"p{at}", "preference": 1 if at else 2}
        for at in range(11)
    ]
    told = compared(rows)
    (share,) = bradley_terry(told, units_of(told)).share.values()
    x_is_first = told[0].first[0].text == "x"
    assert 0.6 < (share if x_is_first else 1 - share) < 0.99


def test_ties_are_half_a_vote_for_either() -> None:
    units = {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 0.0, "y": 0.0}, "c": {"x": 1.0, "y": -1.0}}
    assert majority(units).share == {"a": 0.75, "b": 0.5, "c": 0.5}
    shares = dawid_skene(units).share
    assert shares["a"] > 0.5
    assert shares["b"] == 0.5
