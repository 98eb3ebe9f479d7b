"""Summaries: the facts of a run from its folder, whatever state that is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from etude.errors import RunError
from etude.runs.summary import find_runs, summarize
from tests.runs.made import make_run, verdict


def test_the_facts_come_from_the_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", verdicts=(verdict(), verdict("other", answer="worse")))
    found = summarize(run.path)
    assert (found.name, found.state, found.technique, found.steps) == ("one", "finished", "lora r16", 3)
    assert found.heldout_loss == 1.0
    assert found.train_loss == 1.0
    assert found.gap == 0.05
    assert [(score.task, score.answer) for score in found.scores] == [("tickets", "better"), ("other", "worse")]


def test_missing_and_torn_files_leave_their_facts_empty(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    run.run_file.write_text("technique: [")
    run.verdict_file.write_text('{"verdicts": [{"task": "x"}]}')
    with run.metrics_file.open("a") as file:
        file.write('{"step": 4, "lo')
    found = summarize(run.path)
    assert (found.technique, found.scores, found.gap, found.steps) == ("", (), None, 3)
    run.metrics_file.unlink()
    assert summarize(run.path).heldout_loss is None


def test_damage_is_told_not_raised(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    run.manifest_file.write_text("{")
    found = summarize(run.path)
    assert found.state == "damaged"
    assert "manifest.json: damaged" in (found.trouble or "")


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        summarize(tmp_path)


def test_runs_are_found_in_folders_but_not_inside_runs(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/er/c"):
        make_run(tmp_path / name)
    inner = tmp_path / "a" / "checkpoints" / "step-00000001"
    inner.mkdir(parents=True)
    (inner / "manifest.json").write_text('{"step": 1}')
    (tmp_path / "nothing").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "b", tmp_path / "deep/er/c"]
    assert find_runs(tmp_path / "a") == [tmp_path / "a"]
    assert find_runs(inner) == []
    assert find_runs(tmp_path / "gone") == []
