"""Verdicts: pairing, the one rule, several at once, false alarms and planted gains."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from etude.comparison.gap import measure_gap
from etude.comparison.gates import Facts, Gate, judge_gates
from etude.comparison.verdict import Verdict, compare, compare_all, load_gates, load_verdicts, save_verdicts
from etude.errors import EtudeError, Problems
from etude.evaluation.report import ItemResult, Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def report_of(
    scores: Sequence[float], *, name: str = "tuned", weights: Sequence[float] | None = None, **changes: object
) -> Report:
    items = tuple(
        ItemResult(
            id=f"a:{place}", prompt="", reference="", answer="", scores={"s": float(score), "other": 1.0 - score},
            weight=1.0 if weights is None else weights[place],
        )
        for place, score in enumerate(scores)
    )  # fmt: skip
    report = Report(
        task="t", metric="s", subject=name, model_hash="", items=items, summary={"s": float(np.mean(scores or [0]))},
        data_sha256="d", settings={"metric": "exact_match", "limit": None},
    )  # fmt: skip
    return dataclasses.replace(report, **changes)  # type: ignore[arg-type]


def planted(both: int, only_base: int, only_tuned: int, neither: int) -> tuple[Report, Report]:
    tuned = [1.0] * both + [0.0] * only_base + [1.0] * only_tuned + [0.0] * neither
    base = [1.0] * both + [1.0] * only_base + [0.0] * only_tuned + [0.0] * neither
    return report_of(tuned), report_of(base, name="base")


def test_a_clear_gain_is_better_and_says_so() -> None:
    verdict = compare(*planted(40, 2, 50, 8))
    assert verdict.better
    assert verdict.answer == "better"
    assert (verdict.base, verdict.tuned, verdict.difference) == (0.42, 0.9, pytest.approx(0.48))
    assert verdict.details == {"both": 40, "only_base": 2, "only_tuned": 50, "neither": 8}
    assert verdict.method == "exact McNemar"
    assert stats.binomtest(2, 52).pvalue <= verdict.p_value < 1e-9
    assert verdict.sentence().startswith("better: s on t went from 42.0 % to 90.0 % (gain +48.0 points [+3")


def test_the_mirror_is_worse() -> None:
    tuned, base = planted(40, 2, 50, 8)
    verdict = compare(base, tuned)
    assert verdict.answer == "worse"
    assert verdict.high < 0


def test_not_enough_evidence_says_what_could_have_been_seen() -> None:
    verdict = compare(*planted(10, 1, 4, 5))
    assert verdict.answer == "not enough evidence"
    assert verdict.low <= 0 <= verdict.high
    assert verdict.detectable is not None
    assert 0.2 < verdict.detectable < 0.6
    assert "four times in five" in verdict.sentence()


def test_a_gain_must_exceed_the_smallest_that_matters() -> None:
    pair = planted(40, 5, 25, 30)
    assert compare(*pair).better
    verdict = compare(*pair, smallest_gain=0.15)
    assert verdict.answer == "not enough evidence"
    assert 0 < verdict.low < 0.15
    assert "may be smaller than the +15.0 points asked for" in verdict.sentence()
    assert compare(*reversed(pair), smallest_gain=0.15).answer == "worse"


def test_items_are_paired_by_id_not_by_place() -> None:
    tuned, base = planted(10, 3, 12, 5)
    shuffled = dataclasses.replace(base, items=tuple(reversed(base.items)))
    assert compare(tuned, shuffled) == compare(tuned, base)


def test_scores_that_are_not_binary_take_the_bootstrap() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(80) * 0.5
    verdict = compare(report_of(list(base + 0.3)), report_of(list(base), name="base"))
    assert verdict.method == "paired bootstrap"
    assert verdict.better
    assert verdict.difference == pytest.approx(0.3)
    noisy = compare(report_of(list(generator.random(80))), report_of(list(generator.random(80)), name="base"))
    assert noisy.answer == "not enough evidence"


def test_lower_is_better_turns_the_gain_round_and_weighs_by_tokens() -> None:
    base, tuned = [2.0, 3.0, 2.5, 4.0, 3.5, 2.2, 3.1], [1.0, 2.5, 2.0, 3.0, 3.0, 2.0, 2.6]
    weights = [10.0, 20.0, 5.0, 8.0, 9.0, 30.0, 6.0]
    nats = {"higher_is_better": False, "weights": weights}
    verdict = compare(report_of(tuned, **nats), report_of(base, name="base", **nats))  # type: ignore[arg-type]
    assert verdict.better
    assert verdict.difference == pytest.approx(verdict.base - verdict.tuned)
    assert verdict.difference > 0
    assert verdict.base == pytest.approx(np.average(base, weights=weights))
    assert f"went from {verdict.base:.4f} to {verdict.tuned:.4f}" in verdict.sentence()


def test_another_score_of_the_items_can_be_compared() -> None:
    assert compare(*planted(40, 2, 50, 8), metric="other").answer == "worse"
    with pytest.raises(Problems, match="have no 'absent'; they have s, other"):
        compare(*planted(1, 1, 1, 1), metric="absent")


def test_everything_that_does_not_match_is_named() -> None:
    tuned, base = planted(3, 1, 2, 3)
    other = dataclasses.replace(
        base, task="u", metric="other", data_sha256="e", settings={"metric": "exact_match", "limit": 9},
        items=(*base.items[1:], dataclasses.replace(base.items[0], id="z:1")),
    )  # fmt: skip
    with pytest.raises(Problems) as caught:
        compare(tuned, other)
    text = str(caught.value)
    for named in (
        "task: 't' against 'u'",
        "metric: ",
        "data_sha256: ",
        "setting limit: None against 9",
        "(a:0)",
        "(z:1)",
    ):
        assert named in text


def test_ids_given_twice_and_other_token_counts_are_refused() -> None:
    tuned, base = planted(3, 1, 2, 3)
    twice = dataclasses.replace(tuned, items=(*tuned.items, tuned.items[0]))
    with pytest.raises(Problems, match="share their id"):
        compare(twice, base)
    with pytest.raises(Problems, match="token counts"):
        compare(report_of([1.0, 2.0], weights=[3.0, 4.0]), report_of([1.0, 2.0], weights=[3.0, 5.0]))
    with pytest.raises(Problems, match="without items"):
        compare(report_of([]), report_of([]))
    with pytest.raises(EtudeError, match="one item"):
        compare(report_of([0.3]), report_of([0.2]))


@pytest.mark.parametrize(
    "wrong", [{"level": 0.3}, {"level": 1.0}, {"smallest_gain": -0.1}, {"smallest_gain": float("nan")}]
)
def test_levels_and_gains_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(EtudeError, match=next(iter(wrong))):
        compare(*planted(3, 1, 2, 3), **wrong)


@given(
    st.tuples(*[st.integers(0, 30)] * 4).filter(any), st.sampled_from([0.8, 0.95, 0.99]), st.sampled_from([0.0, 0.1])
)
def test_answer_interval_and_p_value_never_contradict(
    counts: tuple[int, int, int, int], level: float, smallest_gain: float
) -> None:
    verdict = compare(*planted(*counts), level=level, smallest_gain=smallest_gain)
    significant = verdict.p_value < 1 - level
    assert significant == (verdict.low > smallest_gain or verdict.high < 0)
    assert (verdict.answer == "better") == (verdict.low > smallest_gain)
    assert (verdict.answer == "worse") == (verdict.high < 0)
    assert (verdict.answer == "equivalent") == (
        verdict.high >= 0 and -smallest_gain < verdict.low and verdict.high < smallest_gain
    )
    assert verdict.low <= verdict.difference <= verdict.high


@pytest.mark.parametrize("binary", [True, False])
def test_equal_models_are_rarely_told_apart(binary: bool) -> None:
    generator = np.random.default_rng(29)
    trials = 300
    alarms = 0
    for _ in range(trials):
        quality = generator.random(60)
        drawn = generator.random((2, 60)) < quality if binary else generator.normal(quality, 0.3, size=(2, 60))
        pair = [report_of([float(score) for score in scores]) for scores in drawn]
        alarms += compare(pair[0], pair[1]).answer != "not enough evidence"
    assert stats.binomtest(int(alarms), trials, 0.05, alternative="greater").pvalue > 1e-3


def test_a_planted_gain_is_found() -> None:
    generator = np.random.default_rng(31)
    found = 0
    for _ in range(100):
        base = generator.random(200) < 0.5
        tuned = np.where(generator.random(200) < 0.3, True, base)
        found += compare(report_of([float(x) for x in tuned]), report_of([float(x) for x in base])).better
    assert found >= 98


def test_several_comparisons_are_corrected_and_say_so() -> None:
    weak, strong = planted(40, 2, 10, 8), planted(40, 2, 50, 8)
    assert compare(*weak).better
    verdicts = compare_all([weak, strong, weak, planted(40, 5, 5, 10)])
    assert [verdict.answer for verdict in verdicts] == [
        "not enough evidence",
        "better",
        "not enough evidence",
        "not enough evidence",
    ]
    assert verdicts[0].p_value > 0.05 > compare(*weak).p_value
    assert verdicts[0].low <= 0
    assert verdicts[1].level == pytest.approx(1 - 0.05 / 4)
    assert "Holm-corrected among 4" in verdicts[0].sentence()
    for verdict in verdicts:
        assert (verdict.p_value < 0.05) == (verdict.low > 0 or verdict.high < 0)


def test_holm_keeps_the_false_alarms_of_a_whole_family_below_the_level() -> None:
    generator = np.random.default_rng(37)
    trials, alarms = 150, 0
    for _ in range(trials):
        pairs = []
        for _ in range(5):
            first, second = (report_of([float(x) for x in generator.random(50) < 0.5]) for _ in range(2))
            pairs.append((first, second))
        alarms += any(verdict.answer != "not enough evidence" for verdict in compare_all(pairs))
    assert stats.binomtest(alarms, trials, 0.05, alternative="greater").pvalue > 1e-3


def test_verdicts_survive_the_disk(tmp_path: Path) -> None:
    verdicts = compare_all([planted(40, 2, 50, 8), planted(1, 1, 1, 1)])
    gap = measure_gap([(10.0, 5.0), (8.0, 5.0)], [(12.0, 5.0), (9.0, 5.0)])
    path = tmp_path / "verdict.json"
    save_verdicts(path, verdicts, gap)
    assert load_verdicts(path) == (verdicts, gap)
    assert set(json.loads(path.read_text())) == {"verdicts", "gap", "gates"}
    assert load_gates(path) == ()
    assert Verdict.from_dict(json.loads(json.dumps(verdicts[0].as_dict()))) == verdicts[0]
    gates = judge_gates([Gate(task="t", better_by=0.1)], {"t": planted(40, 2, 50, 8)}, Facts())
    save_verdicts(path, verdicts, gates=gates)
    assert load_verdicts(path) == (verdicts, None)
    assert load_gates(path) == gates
    path.write_text("{}")
    with pytest.raises(EtudeError, match="not a whole verdict file"):
        load_verdicts(path)
