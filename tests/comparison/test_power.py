"""Power before evaluating: against statsmodels, by enumeration and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from etude.comparison.paired import exact_mcnemar
from etude.comparison.plan import detectable_line, foreseen_gain, worst_case
from etude.comparison.power import (
    connor_rows,
    design_effect,
    gain_for,
    independent_discordance,
    means_power,
    proportions_power,
    rows_for,
)
from tests.comparison.test_verdict import report_of


@pytest.mark.parametrize(("n", "discordance", "gain"), [(30, 0.3, 0.2), (60, 0.5, 0.1), (45, 0.2, 0.2)])
def test_exact_power_is_the_sum_over_all_outcomes(n: int, discordance: float, gain: float) -> None:
    up, down = (discordance + gain) / 2, (discordance - gain) / 2
    total = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            if gained > lost and exact_mcnemar(lost, gained) < 0.05:
                total += stats.multinomial.pmf([gained, lost, n - gained - lost], n, [up, down, 1 - discordance])
    assert proportions_power(n, discordance=discordance, gain=gain) == pytest.approx(total, abs=1e-9)


def test_connors_rows_have_connors_power_and_nearly_the_exact_one() -> None:
    # Connor 1987: discordance 0.3, gain 0.1 at 5 % two-sided and 80 %
    rows = connor_rows(0.1, discordance=0.3)
    assert rows == pytest.approx((1.959964 * 0.3**0.5 + 0.8416212 * 0.29**0.5) ** 2 / 0.01, rel=1e-6)
    exact = proportions_power(round(rows), discordance=0.3, gain=0.1)
    assert 0.75 <= exact <= 0.81
    assert proportions_power(30_000, discordance=0.3, gain=0.009) == pytest.approx(
        proportions_power(20_000, discordance=0.3, gain=0.009 * 1.5**0.5), abs=0.01
    ), "the approximation for many items goes on from the exact sum"


@pytest.mark.parametrize(("n", "gain"), [(12, 0.5), (50, 0.3), (400, 0.1)])
def test_a_means_power_is_statsmodels(n: int, gain: float) -> None:
    theirs = TTestPower().power(effect_size=gain / 0.8, nobs=n, alpha=0.05, alternative="two-sided")
    assert means_power(n, deviation=0.8, gain=gain) == pytest.approx(theirs, abs=1e-3)


def test_rows_and_gains_invert_power() -> None:
    def at(n: int) -> float:
        return means_power(n, deviation=1.0, gain=0.25)

    rows = rows_for(at)
    assert rows is not None
    assert at(rows - 1) < 0.8 <= at(rows)
    gain = gain_for(lambda gain: means_power(rows, deviation=1.0, gain=gain), 2.0)
    assert gain == pytest.approx(0.25, rel=0.01)
    assert rows_for(lambda _: 0.5) is None
    assert gain_for(lambda _: 0.5, 1.0) is None


def test_models_that_err_independently_differ_most() -> None:
    assert independent_discordance(0.5, 0.0) == 0.5
    assert independent_discordance(0.0, 0.9) == pytest.approx(0.9)
    assert independent_discordance(0.9, 0.05) == pytest.approx(0.9 * 0.05 + 0.95 * 0.1)


def test_the_design_effect_is_kishs() -> None:
    generator = np.random.default_rng(11)
    members, between, within = 5, 1.0, 2.0
    values = generator.normal(0, between, 4000).repeat(members) + generator.normal(0, within, 4000 * members)
    number = np.arange(4000).repeat(members)
    correlation = between**2 / (between**2 + within**2)
    assert design_effect(values, number) == pytest.approx(1 + (members - 1) * correlation, rel=0.08)
    assert design_effect(values, None) == 1.0
    assert design_effect(np.zeros(4), np.array([0, 0, 1, 1])) == 1.0


def test_what_a_base_report_foresees_before_training() -> None:
    said = foreseen_gain(report_of([1.0] * 60 + [0.0] * 40))
    assert said is not None
    gain = float(said.split("a gain of ")[1].split()[0]) / 100
    assert said.startswith("t: 100 items show a gain of ")
    power = proportions_power(100, discordance=independent_discordance(0.6, gain), gain=gain)
    assert power == pytest.approx(0.8, abs=0.01)
    graded = foreseen_gain(report_of([0.2, 0.4, 0.6, 0.8] * 25))
    assert graded is not None
    assert "as if the models' scores were independent" in graded
    assert foreseen_gain(report_of([1.5] * 10, higher_is_better=False)) is None
    assert foreseen_gain(report_of([0.5] * 10)) is None, "nothing varies"
    assert "at worst" in detectable_line("t", 30, worst_case())
