"""Groups, missing scores and several models: what the reports become, against statsmodels where it knows."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from etude.comparison.paired import PairedMeans, PairedProportions
from etude.comparison.pairing import Table, pair
from etude.comparison.seeds import SeededMeans
from etude.comparison.verdict import Verdict, compare
from etude.errors import EtudeError, Problems
from etude.evaluation.report import Report
from tests.comparison.test_verdict import report_of


def grouped(report: Report, size: int) -> Report:
    items = [dataclasses.replace(item, group=f"g{place // size}") for place, item in enumerate(report.items)]
    return dataclasses.replace(report, items=tuple(items))


def clustered_scores(generator: np.random.Generator, groups: int = 40, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong twice, both models equally good, but better on some groups and worse on others."""
    lean = generator.normal(0, 0.3, groups).repeat(size)
    base, tuned = (generator.random(groups * size) < np.clip(0.6 + sign * lean, 0, 1) for sign in (-1, 1))
    return tuned.astype(float), base.astype(float)


def test_the_spread_over_groups_is_the_cluster_robust_one() -> None:
    tuned, base = clustered_scores(np.random.default_rng(1))
    number = np.arange(40).repeat(5)
    table = Table(np.stack([tuned, base]), np.ones(200), number, tuned=1)
    evidence = table.evidence("t", resamples=20_000)
    assert isinstance(evidence, PairedMeans)
    theirs = sm.OLS(tuned - base, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": number, "df_correction": True}
    )
    assert evidence.difference == pytest.approx(theirs.params[0])
    low, high = evidence.interval(0.95)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 39) * theirs.bse[0], rel=0.1)
    found = evidence.detectable(0.95)
    assert found == pytest.approx((stats.t.ppf(0.975, 39) + stats.t.ppf(0.8, 39)) * theirs.bse[0], rel=0.01)


def test_equal_models_on_groups_are_rarely_told_apart_and_would_be_often_if_items_were_independent() -> None:
    generator, trials, alarms, naive = np.random.default_rng(2), 300, 0, 0
    number = np.arange(40).repeat(5)
    for trial in range(trials):
        scores = np.stack(clustered_scores(generator))
        alarms += Table(scores, np.ones(200), number, tuned=1).evidence("t", resamples=999, seed=trial).p_value < 0.05
        naive += Table(scores, np.ones(200), None, tuned=1).evidence("t", resamples=999).p_value < 0.05
    assert stats.binomtest(int(alarms), trials, 0.05, alternative="greater").pvalue > 1e-3
    assert naive / trials > 0.1


def test_groups_are_in_the_verdict() -> None:
    tuned, base = (report_of([float(x) for x in scores]) for scores in clustered_scores(np.random.default_rng(3)))
    verdict = compare(grouped(tuned, 5), grouped(base, 5))
    assert (verdict.n, verdict.groups) == (200, 40)
    assert verdict.method == "paired bootstrap over 40 groups"
    assert set(verdict.details) == {"both", "only_base", "only_tuned", "neither"}
    assert "n = 200 in 40 groups" in verdict.sentence()
    assert compare(grouped(tuned, 1), grouped(base, 1)).method == "exact McNemar", "groups of one are no groups"
    assert compare(grouped(tuned, 5), base).groups == 40, "a report of before items had groups says nothing"
    with pytest.raises(Problems, match="group: a:5 is in 'g1' and in 'g0'"):
        compare(grouped(tuned, 5), grouped(base, 10))
    with pytest.raises(EtudeError, match="items of one group cannot show"):
        compare(grouped(tuned, 500), grouped(base, 500))


def test_items_without_a_score_are_left_out_and_said() -> None:
    tuned = report_of([1.5, 2.0, math.nan, 3.5] * 10 + [1.0] * 200)
    base = report_of([1.0] * 240)
    verdict = compare(tuned, base)
    assert (verdict.n, verdict.left_out) == (230, 10)
    assert verdict.tuned == pytest.approx((7.0 * 10 + 200) / 230)
    assert "10 items left out, without a score on one side or the other" in verdict.sentence()
    assert compare(base, tuned).left_out == 10
    with pytest.raises(EtudeError, match=r"20 of 240 items have no score .* over 5 %"):
        compare(report_of([math.nan] * 20 + [1.0] * 220), base)


def several(generator: np.random.Generator, many: int, score: float, wobble: float) -> list[Report]:
    """Reports of models whose true scores lie `wobble` apart, on the same 300 items."""
    return [
        report_of([float(x) for x in generator.random(300) < score + wobble * lean])
        for lean in stats.norm.ppf((np.arange(many) + 0.5) / many)
    ]


def test_seeds_widen_what_a_single_pair_would_have_been_sure_of() -> None:
    generator = np.random.default_rng(4)
    tuned, base = several(generator, 4, 0.75, 0.08), several(generator, 4, 0.6, 0.08)
    alone, together = compare(tuned[-1], base[0]), compare(tuned, base)
    assert alone.better
    assert (together.n, together.method) == (300, "items and seeds as crossed random effects")
    assert together.seeds is not None
    assert (together.seeds.tuned, together.seeds.base) == (4, 4)
    assert 0.03 < (together.seeds.tuned_deviation or 0) < 0.15
    assert together.seeds.share > 0.5
    assert together.tuned == pytest.approx(np.mean([report.score for report in tuned]))
    assert "4 and 4 models; between seeds a standard deviation of" in together.sentence()
    assert Verdict.from_dict(json.loads(json.dumps(together.as_dict()))) == together


def test_several_seeds_against_one_base_model() -> None:
    generator = np.random.default_rng(5)
    found = pair(several(generator, 3, 0.7, 0.0), report_of([0.0, 1.0] * 150), "s", resamples=100)
    assert isinstance(found.evidence, SeededMeans)
    assert found.spread is not None
    assert found.spread.base_deviation is None
    assert found.base == 0.5


def test_every_report_of_a_side_must_match() -> None:
    good, other = report_of([1.0, 0.0, 1.0]), report_of([1.0, 0.0, 1.0], data_sha256="changed")
    with pytest.raises(Problems, match="data_sha256: 'd' against 'changed'"):
        compare([good, other], good)
    assert isinstance(pair(good, good, "s", resamples=10).evidence, PairedProportions)
