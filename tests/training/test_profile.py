"""A profile changes nothing, adds up to the whole, and is there for any run that has a steady update."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.models import kernels
from etude.training import phases
from etude.training.profile import MOST, TABLE, TRACE, Profile, Window
from etude.training.saving import Place
from tests.training.small_run import equal, samples, small_run, weights_of
from tests.training.test_memory import source


def profiled(folder: Path, **settings: Any) -> tuple[Profile, Any]:
    profile = Profile(folder)
    with profile:
        trained, _ = small_run(hooks=[profile], **settings)
    return profile, weights_of(trained.policy)


def rows(page: str, title: str) -> dict[str, tuple[float, float]]:
    """Milliseconds and percent by name, of the part with this title."""
    part = page.partition(f"\n{title} ")[2].partition("\n\n")[0]
    found = re.findall(r"^  (\S.*?) {2,}([\d.,]+) +([\d.]+)%", part, re.MULTILINE)
    return {name: (float(milliseconds.replace(",", "")), float(share)) for name, milliseconds, share in found}


def test_the_run_is_the_same_and_the_parts_are_the_whole(tmp_path: Path) -> None:
    plain, _ = small_run(steps=9)
    profile, weights = profiled(tmp_path, steps=9)
    assert equal(weights, weights_of(plain.policy))
    page = (tmp_path / TABLE).read_text(encoding="utf-8")
    assert page.startswith("Profile of updates 6 to 8: toy + LoRA, float32, ")
    assert all(line in page for line in profile.lines)
    update = float(re.search(r"an update takes ([\d,]+) ms \([\d,]+ ms without", page)[1].replace(",", ""))  # type: ignore[index]
    parts = rows(page, "phase of an update")
    assert list(parts) == ["packing", "forward", "backward", "optimizer", "the rest of the loop"]
    kinds = rows(page, "kind of work")
    assert {"matrix products", "copies and layout", "optimizer", "Python and dispatch"} <= set(kinds)
    for found in (parts, kinds):
        assert sum(milliseconds for milliseconds, _ in found.values()) == pytest.approx(update, abs=1.0)
        assert sum(share for _, share in found.values()) == pytest.approx(100, abs=1)
    operators = rows(page, "operator")
    assert any(name.startswith("aten::mm") and "[matrix products]" in name for name in operators)
    told = int(re.search(r"^matrix products take (\d+)% of it$", page, re.MULTILINE)[1])  # type: ignore[index]
    assert told == pytest.approx(kinds["matrix products"][1], abs=0.6)  # both are rounded, to one place and to none


@pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler")
def test_kernels_called_through_ctypes_are_seen(tmp_path: Path) -> None:
    profiled(tmp_path, steps=9)
    kinds = rows((tmp_path / TABLE).read_text(encoding="utf-8"), "kind of work")
    assert {"attention", "norms, activations, softmax"} <= set(kinds)


def test_the_trace_opens_in_a_viewer(tmp_path: Path) -> None:
    profiled(tmp_path, steps=9)
    with gzip.open(tmp_path / TRACE) as file:
        events = json.load(file)["traceEvents"]
    names = [event["name"] for event in events if event.get("ph") == "X"]
    assert names.count("etude: forward") == names.count("etude: backward") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([TABLE, TRACE])


def test_looks_and_checkpoints_are_told_apart(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, run_id="r")
    profiled(tmp_path, steps=9, heldout=source(), heldout_every=1, save_every=1, place=place)
    page = (tmp_path / TABLE).read_text(encoding="utf-8")
    assert re.search(r"beside updates: held-out look [\d,]+ ms in all, [23] times", page)
    assert re.search(r"beside updates: saving [\d,]+ ms in all, [567] times", page)
    assert sum(share for _, share in rows(page, "phase of an update").values()) == pytest.approx(100, abs=1)


@pytest.mark.parametrize(("steps", "recorded"), [(2, "2 to 2"), (3, "3 to 3"), (5, "3 to 5"), (7, "5 to 7")])
def test_short_runs(tmp_path: Path, steps: int, recorded: str) -> None:
    profiled(tmp_path, steps=steps)
    assert f"Profile of updates {recorded}: " in (tmp_path / TABLE).read_text(encoding="utf-8")


def test_a_single_update_leaves_no_profile(tmp_path: Path) -> None:
    profile, _ = profiled(tmp_path, steps=1)
    assert profile.lines == ()
    assert list(tmp_path.iterdir()) == []


@given(begin=st.integers(1, 50), more=st.integers(1, 60))
def test_the_window_lies_in_the_run(begin: int, more: int) -> None:
    found = Window.of(begin, begin + more)
    assert begin <= found.starts_after < found.first <= found.last <= begin + more
    assert 1 <= found.last - found.first + 1 <= MOST
    assert found.first - found.starts_after - 1 == found.warm_up == min(1, more - 1)
    assert more < 8 or (found.first, found.last) == (begin + 5, begin + 7)


def test_nothing_is_recorded_after_a_failure(tmp_path: Path) -> None:
    profile = Profile(tmp_path)

    def fail(progress, policy) -> None:
        if progress.step == 7:
            assert phases.phase("forward") is not None
            assert kernels.shown_to_profiler
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"), profile:
        small_run(steps=9, hooks=[profile, fail])
    assert not kernels.shown_to_profiler
    assert list(tmp_path.iterdir()) == []
    small_run(steps=2, rows=len(samples(4)))
