"""Runs read from their folders become a page that shows their trade-off, and the report's section on retention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etude.comparison.retention import Drift, Retention
from etude.comparison.verdict import compare_all
from etude.errors import RunError
from etude.evaluation.report import ItemResult, Report
from etude.pages.frontier import frontier_of, write_frontier
from etude.pages.report import render
from etude.pages.run_files import read_run_files
from etude.runs.directory import RunDirectory
from tests.pages.synthetic_run import write_run


def probe(right: int) -> Report:
    items = tuple(ItemResult(str(n), "", "", "", {"right_choice": float(n < right)}) for n in range(40))
    return Report(
        task="choices", metric="right_choice", subject="m", model_hash="", items=items, data_sha256="",
        summary={"right_choice": right / 40},
    )  # fmt: skip


def with_retention(folder: Path, *, after: int, seed: int) -> Path:
    write_run(folder, rows=40, steps=10, num_labels=4, seed=seed)
    pair = probe(after), probe(30)
    place = RunDirectory(folder)
    for report, base in zip(pair, (False, True), strict=True):
        report.save(place.report("choices", base=base, retention=True))
    drift = Drift("plain text", 0.1 * seed, 0.05 * seed, 0.2 * seed, 0.95, 16, 900)
    Retention(compare_all([pair]), (drift,), 42.0).save(place.retention_file)
    return folder


def test_runs_become_points_with_intervals_on_a_page(tmp_path: Path) -> None:
    kept = {"keeps": 30, "loses": 12}
    runs = [with_retention(tmp_path / name, after=after, seed=n) for n, (name, after) in enumerate(kept.items(), 1)]
    found = frontier_of(runs, task="tickets")
    assert [point.lost.value for point in found.points] == pytest.approx([0, 18 / 40])
    assert found.points[1].lost.low > 0.2
    assert found.rows()[0][1].endswith("points (" + found.rows()[0][1].rpartition("(")[2])
    write_frontier(found, tmp_path / "frontier.html")
    page = (tmp_path / "frontier.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "keeps" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    drifted = frontier_of(runs, task="tickets", by="drift")
    assert [point.lost.value for point in drifted.points] == pytest.approx([0.1, 0.2])
    assert frontier_of(runs, task="tickets", by="choices").lost_in_points
    with pytest.raises(RunError, match="has no probe 'x'"):
        frontier_of(runs, task="tickets", by="x")
    with pytest.raises(RunError, match="was not measured on 'x'"):
        frontier_of(runs, task="x")
    (runs[0] / "retention.json").unlink()
    with pytest.raises(RunError, match="nothing beside its task"):
        frontier_of(runs, task="tickets")


def test_the_report_says_what_was_forgotten(tmp_path: Path) -> None:
    run = read_run_files(with_retention(tmp_path / "run", after=12, seed=1))
    page = render(run)
    assert "Worse after training: choices" in page
    assert page.index('id="retention"') < page.index('id="learning"')
    assert "KL(tuned‖base)" in page
    assert 'id="retention"' not in render(replace(run, retention=None))
    (run.folder / "retention.json").write_text("{")
    assert any("retention.json" in notice for notice in read_run_files(run.folder).notices)
