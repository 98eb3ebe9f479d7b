"""Differences of two runs: every fact once, and only what differs when that is asked."""

from __future__ import annotations

from pathlib import Path

from etude.runs.diff import diff, flatten
from etude.runs.manifest import DataSource
from tests.runs.made import make_run, verdict


def test_what_differs_is_told_and_what_is_the_same_is_not(tmp_path: Path) -> None:
    left = make_run(tmp_path / "a", verdicts=(verdict(),))
    right = make_run(
        tmp_path / "b", learning_rate=1e-4, verdicts=(verdict(tuned=0.05, answer="not enough evidence"),),
        data=DataSource("e" * 64, "tickets.jsonl"), versions={"python": "3.11.7", "torch": "2.14.0"},
    )  # fmt: skip
    found = {(line.section, line.name): (line.left, line.right) for line in diff(left.path, right.path).differing}
    assert found == {
        ("settings", "training.learning_rate"): ("0.001", "0.0001"),
        ("inputs", "data"): ("tickets.jsonl (dddddddddddd)", "tickets.jsonl (eeeeeeeeeeee)"),
        ("versions", "torch"): ("2.13.0", "2.14.0"),
        ("results", "tickets match, tuned"): ("0.915", "0.05"),
        ("results", "tickets match, difference"): ("+0.885 [+0.835, +0.935]", "+0.02 [-0.03, +0.07]"),
        ("results", "tickets verdict"): ("better", "not enough evidence"),
    }


def test_a_run_equals_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", verdicts=(verdict(),))
    found = diff(run.path, run.path)
    assert found.differing == ()
    names = [(line.section, line.name) for line in found.lines]
    assert len(names) == len(set(names)) > 15


def test_facts_that_only_one_run_has_are_kept(tmp_path: Path) -> None:
    left, right = make_run(tmp_path / "a", verdicts=(verdict(),)), make_run(tmp_path / "b")
    right.manifest_file.write_text("{")
    found = {line.name: (line.left, line.right) for line in diff(left.path, right.path).differing}
    assert found["tickets verdict"] == ("better", None)
    assert found["seed"] == ("0", None)
    assert found["state"] == ("finished", "damaged")


def test_settings_are_flattened_by_their_paths() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "e": True, "f": [1, 2], "g": {}}
    assert flatten(nested) == {"a.b": "1", "a.c.d": "none", "e": "true", "f": "[1, 2]", "g": "{}"}
