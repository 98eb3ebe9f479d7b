"""`etude plan` on the command line."""

from __future__ import annotations

import re

from tests.cycle.conftest import Desk, Done


def said(done: Done, code: int = 0) -> str:
    assert done.code == code, done.words
    return done.words


def test_a_run_is_planned_without_training(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml"))
    for part in ("weights", "optimizer", "activations", "peak", "training.learning_rate=", "training.epochs=", "qlora"):
        assert part in words
    assert "fits" in words
    assert not (desk.folder / "runs").exists()


def test_what_does_not_fit_says_what_is_most_of_it(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml", "--memory", "1MB"), code=1)
    assert re.search(r"does not fit; most of it is \w+", words)
    assert "nothing fits" in words


def test_an_accelerator_and_a_price(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml", "--hardware", "h100", "--price", "2.5"))
    assert "40% of 989 TFLOP/s" in words
    assert "at that price" in words
    done = desk.etude("plan", "toy.yaml", "--hardware", "h1000")
    assert (done.code, "known are t4" in done.words) == (2, True)
