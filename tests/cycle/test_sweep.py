"""`etude sweep`: searches, goes on, prunes, finds a rate; mistakes cost nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from etude.cycle.find_rate import judged
from etude.cycle.sweep import Searched
from etude.errors import ConfigError, EtudeError
from tests.cycle.conftest import Desk, Done

QUICK = ("training.steps=8", "training.heldout_every=2", "evaluation.tasks=[]")
OVER = ("--over", "training.learning_rate=1e-5..1e-1", "--over", "technique.rank=2|4")


def said(done: Done) -> str:
    assert done.code == 0, done.words
    return done.words


def test_ranges_and_lists_are_read() -> None:
    assert Searched.parse("a.b=1e-5..1e-2") == Searched("a.b", 1e-5, 1e-2)
    assert Searched.parse("a.b=8..64") == Searched("a.b", 8.0, 64.0, whole=True)
    assert Searched.parse("a.b=x|y|z") == Searched("a.b", choices=("x", "y", "z"))
    for wrong in ("a.b=3", "a.b", "a.b=5..1", "a.b=x..y"):
        with pytest.raises(ConfigError, match="expected name=low"):
            Searched.parse(wrong)


def test_it_searches_goes_on_and_leaves_a_run_file(desk: Desk) -> None:
    first = said(desk.etude("sweep", "toy.yaml", *QUICK, *OVER, "--trials", "3"))
    assert len(re.findall(r"^trial \d: heldout_loss", first, re.MULTILINE)) == 3
    more = said(desk.etude("sweep", "toy.yaml", *QUICK, *OVER, "--trials", "5"))
    assert len(re.findall(r"^trial \d: training", more, re.MULTILINE)) == 2, "the three are not made again"
    scores = [float(found) for found in re.findall(r"trial +\d+ +([\d.]+) +training", more)]
    assert scores == sorted(scores)
    assert (desk.folder / "sweeps/toy/best.yaml").exists()
    said(desk.etude("check", "sweeps/toy/best.yaml"))
    best = next(iter(re.findall(r"trial +(\d+) ", more.partition("trial   ")[1] + more.partition("trial   ")[2])))
    assert (desk.folder / f"sweeps/toy/trial-{int(best):04d}/manifest.json").exists()


def test_a_task_can_be_the_score(desk: Desk) -> None:
    words = said(
        desk.etude(
            "sweep", "toy.yaml", "training.steps=4", "--over", "technique.rank=2|4", "--trials", "2", "--score", "toy"
        )
    )
    assert len(re.findall(r"^trial \d: toy", words, re.MULTILINE)) == 2


def test_mistakes_are_told_before_the_first_trial(desk: Desk) -> None:
    for arguments, says in (
        ((), "nothing is searched"),
        (("--over", "training.learning_rat=1e-5..1e-2"), "did you mean 'learning_rate'"),
        (("--over", "technique.rank=2|4", "--score", "nothing"), "known are heldout_loss, toy"),
        (("--over", "technique.rank=2|4", "data.holdout=0"), "no held-out rows"),
    ):
        done = desk.etude("sweep", "toy.yaml", *arguments)
        assert done.code == 2, done.words
        assert says in done.words
    assert not (desk.folder / "sweeps").exists()


def test_a_rate_is_found_on_a_real_model(desk: Desk) -> None:
    words = said(desk.etude("sweep", "toy.yaml", "--find-rate", "--steps", "60"))
    found = re.search(r"training\.learning_rate=([\d.e+-]+)", words)
    assert found is not None
    assert 1e-4 < float(found[1]) < 0.5
    assert not Path(desk.folder / "runs").exists()


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_lowest_loss() -> None:
    rates = [10 ** (-5 + at / 10) for at in range(50)]
    losses = [5.0 - 4.0 / (1 + 10 ** (-(at - 25) / 4)) + max(0.0, (at - 40) / 3) for at in range(50)]
    found = judged(rates, losses)
    assert found.highest == rates[losses.index(min(losses))]
    assert found.suggestion == pytest.approx(found.highest / 10)
    with pytest.raises(EtudeError, match="never fell"):
        judged(rates, [5.0 + at for at in range(50)])
