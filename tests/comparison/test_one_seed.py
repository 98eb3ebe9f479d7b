"""Single models taken for their settings: intervals that know how far seeds lie apart, and words where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from etude.comparison.judgement import judge
from etude.comparison.one_seed import Widened
from etude.comparison.paired import PairedProportions
from etude.comparison.verdict import compare_all
from etude.errors import EtudeError
from etude.evaluation.report import ItemResult, Report

SEEDS = 0.03


def drawn(chance: np.random.Generator, mine: float, its: float, n: int) -> PairedProportions:
    """Two models of these true scores on the same items, their mistakes half alike."""
    hard = chance.random(n)
    one, other = ((np.where(chance.random(n) < 0.5, hard, chance.random(n)) < score) for score in (mine, its))
    return PairedProportions(
        int((one & other).sum()), int((other & ~one).sum()), int((one & ~other).sum()), int((~one & ~other).sum())
    )


def test_false_alarms_about_settings_stay_below_the_level_where_single_models_say_too_much() -> None:
    """Equal settings, whose models differ by their seeds: 150 comparisons on 1,000 items."""
    chance, plain, widened = np.random.default_rng(0), 0, 0
    for _ in range(150):
        mine, its = 0.7 + SEEDS * chance.standard_normal(2)
        evidence = drawn(chance, mine, its, 1_000)
        answers = [judge([one], level=0.95)[0].answer for one in (evidence, Widened(evidence, SEEDS))]
        plain, widened = plain + (answers[0] in ("better", "worse")), widened + (answers[1] in ("better", "worse"))
    assert plain / 150 > 0.2
    assert widened / 150 < 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5


def test_a_widened_interval_agrees_with_its_test_and_knows_what_items_cannot_show() -> None:
    evidence = PairedProportions(500, 40, 110, 350)
    wide = Widened(evidence, 0.01)
    low, high = wide.interval(0.95)
    plain = evidence.interval(0.95)
    assert low < plain[0] < plain[1] < high
    at = wide.interval(1 - wide.p_value)
    assert at[0] == pytest.approx(0, abs=1e-6)
    assert wide.p_value > evidence.p_value
    floor = (1.96 + 0.8416) * 2**0.5 * 0.01
    assert wide.rows_for(0.9 * floor, 0.95) is None
    assert wide.rows_for(2 * floor, 0.95) > evidence.rows_for(2 * floor, 0.95)  # type: ignore[operator]
    assert wide.detectable(0.95) > max(floor, evidence.detectable(0.95))  # type: ignore[operator, type-var]


def report(right: int, subject: str, n: int = 200) -> Report:
    items = tuple(ItemResult(f"a:{k}", "", "", "", {"accuracy": float(k < right)}) for k in range(n))
    return Report("t", "accuracy", subject, "", items, {"accuracy": right / n}, "sha")


def test_a_verdict_on_two_trained_models_says_what_it_is_about() -> None:
    pair = (report(150, "a"), report(120, "b"))
    (said,) = compare_all([pair], both_trained=True)
    assert said.better
    assert "one training seed a side" in said.sentence()
    (base,) = compare_all([pair])
    assert "one training seed" not in base.sentence()
    (wide,) = compare_all([pair], both_trained=True, seed_deviation=0.1)
    assert wide.answer == "not enough evidence"
    assert "a seed deviation of 0.1 a side, as given" in wide.sentence()
    assert type(said).from_dict(said.as_dict()) == said
    seeded = (list(pair), [report(118, "c"), report(121, "d")])
    (several,) = compare_all([seeded], both_trained=True)
    assert "one training seed" not in several.sentence()
    with pytest.raises(EtudeError, match="seed_deviation: several models a side"):
        compare_all([seeded], seed_deviation=0.1)
