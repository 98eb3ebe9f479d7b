"""Gates and equivalence on a run's page."""

from __future__ import annotations

from pathlib import Path

from etude.comparison.gates import Facts, Gate, judge_gates
from etude.comparison.verdict import compare, save_verdicts
from etude.pages.report import render
from etude.pages.run_files import read_run_files
from tests.pages import synthetic_run
from tests.pages.synthetic_run import write_run


def test_gates_and_equivalence_are_on_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=200, steps=5)
    base, tuned = synthetic_run.tickets(200, 0)
    gates = [Gate(task="tickets", better_by=0.05), Gate(figure="bytes", at_most=1e6)]
    results = judge_gates(gates, {"tickets": (tuned, base)}, Facts(weights_bytes=3_000_000))
    save_verdicts(folder / "verdict.json", [compare(tuned, tuned, smallest_gain=0.05)], gates=results)
    page = render(read_run_files(folder))
    for said in (
        "Equivalent:", "Less than 5.0 points either way.", "1 of 2 passed", "better by more than 5.0 points",
        "bytes at most 1,000,000", "3,000,000", "not passed",
    ):  # fmt: skip
        assert said in page
    save_verdicts(folder / "verdict.json", [compare(tuned, base)])
    assert 'id="gates"' not in render(read_run_files(folder))
