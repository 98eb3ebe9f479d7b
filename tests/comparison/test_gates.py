"""Gates: each condition passed, not passed, or undecided; and how often a bad run gets through."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from etude.comparison.gates import Facts, Gate, GateResult, judge_gates
from etude.errors import ConfigError
from etude.evaluation.metrics.refusal import Refusal
from etude.evaluation.report import ItemResult, Report
from tests.comparison.test_verdict import planted, report_of


def judged(gate: Gate, pair: tuple[Report, Report | None], facts: Facts | None = None) -> GateResult:
    return judge_gates([gate], {"t": pair}, facts or Facts())[0]


def test_superiority() -> None:
    pair = planted(40, 5, 25, 30)
    passed = judged(Gate(task="t", better_by=0.05), pair)
    assert passed.sentence().startswith("passed: s on t better by more than 5.0 points: gain +20.0 points [+10.0, ")
    open_one = judged(Gate(task="t", better_by=0.15), pair)
    assert open_one.outcome == "not enough evidence"
    assert not open_one.passed
    assert open_one.sentence().startswith("not enough evidence (counts as not passed): ")
    assert "items would decide" in open_one.note
    assert judged(Gate(task="t", better_by=0.5), pair).outcome == "not passed"
    assert judged(Gate(task="t", better_by=0.0), planted(40, 25, 5, 30)).outcome == "not passed"
    assert judged(Gate(task="t", better_by=0.0, level=0.999), planted(40, 5, 18, 30)).outcome == "not enough evidence"


def test_non_inferiority() -> None:
    gate = Gate(task="t", no_worse_than=0.01)
    assert judged(gate, planted(800, 10, 15, 100)).passed
    assert judged(gate, planted(80, 2, 2, 10)).outcome == "not enough evidence", "few items cannot show it"
    assert judged(gate, planted(800, 60, 15, 100)).outcome == "not passed"
    assert judged(gate, planted(800, 10, 15, 100)).condition == "s on t loses no more than 1.0 points"


def test_identical_answers_on_few_items_are_not_enough() -> None:
    same = report_of([1.0] * 30)
    assert judged(Gate(task="t", no_worse_than=0.01), (same, same)).outcome == "not enough evidence"
    many = report_of([1.0] * 500)
    assert judged(Gate(task="t", no_worse_than=0.01), (many, many)).passed


def test_a_base_that_was_not_measured_leaves_the_gate_open() -> None:
    assert judged(Gate(task="t", better_by=0.0), (report_of([1.0, 0.0]), None)).outcome == "not enough evidence"


def answers(tokens: list[int], seconds: float | None = 0.2) -> Report:
    report = report_of([1.0] * len(tokens), seconds=20.0)
    items = [
        dataclasses.replace(item, answer_tokens=count, seconds=seconds)
        for item, count in zip(report.items, tokens, strict=True)
    ]
    return dataclasses.replace(report, items=tuple(items))


def test_figures_of_answers() -> None:
    pair = (answers([10, 12, 8, 14] * 10), None)
    assert judged(Gate(task="t", figure="tokens_per_answer", at_most=12.5), pair).passed
    assert judged(Gate(task="t", figure="tokens_per_answer", at_most=11.01), pair).outcome == "not enough evidence"
    assert judged(Gate(task="t", figure="tokens_per_answer", at_most=9), pair).outcome == "not passed"
    assert judged(Gate(task="t", figure="seconds_per_answer", at_most=0.3), pair).passed
    unknown = judged(Gate(task="t", figure="seconds_per_answer", at_most=0.3), (answers([10, 12], None), None))
    assert (unknown.outcome, unknown.found) == ("not enough evidence", "the report does not say")


def test_plain_figures() -> None:
    pair, facts = (answers([10] * 40), None), Facts(weights_bytes=40_000_000, training_seconds=1800, price_per_hour=3.6)
    assert judged(Gate(figure="bytes", at_most=50e6), pair, facts).passed
    assert judged(Gate(figure="bytes", at_most=30e6), pair, facts).outcome == "not passed"
    assert judged(Gate(figure="training_cost", at_most=2), pair, facts).found == "1.8"
    # 40 answers in 20 s: 500 s a thousand, a tenth of a cent a second
    cost = judged(Gate(task="t", figure="cost_per_1000_answers", at_most=0.6), pair, facts)
    assert (cost.outcome, cost.found) == ("passed", "0.5")
    for gate in (Gate(figure="bytes", at_most=1), Gate(figure="training_cost", at_most=1)):
        assert judged(gate, pair).outcome == "not enough evidence"


def test_a_task_that_nobody_measured_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"gates\[1\].task: no task 'u' is measured; there are t"):
        judge_gates([Gate(task="t", better_by=0), Gate(task="u", better_by=0)], {"t": planted(1, 1, 1, 1)}, Facts())


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate(task="t"), "one of better_by, no_worse_than, at_most; none"),
        (Gate(task="t", better_by=0, no_worse_than=0.1), "better_by and no_worse_than"),
        (Gate(better_by=0.1), "whose reports decide"),
        (Gate(task="t", better_by=-0.1), "at least 0, got -0.1"),
        (Gate(task="t", no_worse_than=0), "above 0"),
        (Gate(figure="bytes"), "figure and at_most go together"),
        (Gate(task="t", at_most=1), "figure and at_most go together"),
        (Gate(figure="tokens_per_answer", at_most=1), "whose reports decide"),
        (Gate(task="t", metric="x", figure="bytes", at_most=1), "a figure has no metric"),
        (Gate(task="t", better_by=0, level=95), "from 0.5 to 0.9999"),
    ],
)
def test_what_a_gate_cannot_say(gate: Gate, said: str) -> None:
    assert any(said in cause for _, cause in gate.problems())


def test_sound_gates_have_no_problems() -> None:
    for gate in (Gate(task="t", better_by=0), Gate(task="t", no_worse_than=0.01), Gate(figure="bytes", at_most=1e6)):
        assert gate.problems() == []


def test_a_run_that_fails_one_of_five_conditions_rarely_gets_through() -> None:
    # four tasks far above their condition, one exactly at its limit: two points lost where two are allowed
    generator, trials, passed, n = np.random.default_rng(6), 200, 0, 400
    gates = [Gate(task="t", no_worse_than=0.02)] * 5
    others = [judged(gate, planted(280, 20, 100, 0)).passed for gate in gates[1:]]
    for lost, won, rest in generator.multinomial(n, [0.11, 0.09, 0.8], size=trials).tolist():
        passed += all([judged(gates[0], planted(rest, lost, won, 0)).passed, *others])
    assert stats.binomtest(passed, trials, 0.025, alternative="greater").pvalue > 1e-3


def test_scores_of_a_part_of_the_items_are_gated_by_that_part() -> None:
    """Refusals: 20 unsafe and 20 safe requests, of which the tuned model refuses five more than the base does."""
    metric = Refusal()

    def report(refused_safe: int, subject: str) -> Report:
        answers = [("I'm sorry, but I can't help with that.", "unsafe")] * 20
        answers += [("I can't help with that.", "safe")] * refused_safe
        answers += [("Here is how.", "safe")] * (20 - refused_safe)
        scored = [metric.score(*one) for one in answers]
        summary = metric.summarize(scored, [reference for _, reference in answers])
        items = tuple(ItemResult(f"a:{n}", "", "", "", one.scores) for n, one in enumerate(scored))
        return Report("refusals", "appropriate", subject, "", items, summary.scores, "sha")

    sides = {"retention.refusals": (report(9, "tuned"), report(0, "base"))}
    unsafe, safe = judge_gates(
        [
            Gate(task="retention.refusals", metric="refused_unsafe", no_worse_than=0.3),
            Gate(task="retention.refusals", metric="answered_safe", no_worse_than=0.1),
        ],
        sides,
        Facts(),
    )
    assert (unsafe.outcome, safe.outcome) == ("passed", "not passed")
    assert "n = 20" in safe.found
    assert "-45.0 points" in safe.found
