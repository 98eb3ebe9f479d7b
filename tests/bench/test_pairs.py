"""The bench's arithmetic: medians of steady rounds, ratios within pairs, tables."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cases import LORA, PAIRED
from bench.measured import Measured
from bench.pairs import Options, Pair, Spread, ratios, ratios_of, shorter, spread, table

SECONDS = st.lists(st.floats(0.01, 100.0), min_size=3, max_size=8)


def measured(seconds: list[float], *, rows: int = 16, losses: tuple[float, ...] = ()) -> Measured:
    num = len(seconds)
    return Measured(
        seconds=seconds, rows=[rows] * num, tokens=[100] * num, losses=losses, peak_gigabytes=2.0, versions={}
    )


def test_the_first_rounds_do_not_count() -> None:
    run = measured([9.0, 9.0, 2.0, 4.0, 1.0])
    assert run.steady(2) == 2.0
    assert run.rows_per_second(2) == 8.0
    assert run.tokens_per_second(2) == 50.0
    assert run.whole_seconds() == 25.0


@given(SECONDS)
def test_what_a_process_prints_comes_back(seconds: list[float]) -> None:
    run = measured(seconds, losses=tuple(seconds))
    again = Measured.from_output(f"noise\n{{}}\n{json.dumps(asdict(run))}\n")
    assert (again.seconds, again.losses) == (seconds, seconds)
    assert again.peak_gigabytes == 2.0


@given(SECONDS, SECONDS, SECONDS)
def test_a_slow_minute_cancels(one: list[float], other: list[float], slowness: list[float]) -> None:
    """Both sides of a pair may be slowed alike: the ratio stays."""
    pairs = [
        Pair(measured([factor * second for second in one]), measured([factor * second for second in other]))
        for factor in slowness
    ]
    found = ratios(pairs, Measured.whole_seconds)
    assert found.low == pytest.approx(sum(one) / sum(other))
    assert found.high == pytest.approx(found.low)


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)), min_size=1))
def test_the_spread_holds_the_median(figures: list[tuple[float, float]]) -> None:
    found = ratios_of(figures)
    assert found.low <= found.median <= found.high
    assert found.median == statistics.median(one / other for one, other in figures)


def test_spread_in_words() -> None:
    assert str(spread([3.0, 1.0, 2.0])) == "2.00 (1.00 to 3.00)"
    assert spread([1.0]) == Spread(1.0, 1.0, 1.0)


def test_the_table_says_ratio_and_agreement() -> None:
    ours, peer = measured([1.0] * 8, losses=(2.0, 1.0)), measured([2.0] * 8, losses=(2.5, 1.25))
    text = table(LORA, [Pair(ours, peer)] * 3)
    assert "| Etude | 16.00 (16.00 to 16.00) | 100 | 8.0 | 2.00 |" in text
    assert "| ratio | 2.00 (2.00 to 2.00) | | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) |" in text
    assert "loss: first 2.0000 and 2.5000, last 1.0000 and 1.2500; apart by 0.3750 on average, 0.5000 at most" in text


def test_a_shorter_case_keeps_a_steady_update() -> None:
    assert shorter(LORA, None) is LORA
    short = shorter(LORA, 3)
    assert (short.steps, short.warm) == (3, 2)


def test_every_case_has_steady_updates_and_a_name_of_its_own() -> None:
    assert all(0 < case.warm < case.steps for case in PAIRED)
    assert len({case.name for case in PAIRED}) == len(PAIRED)
    assert Options().pairs >= 3
