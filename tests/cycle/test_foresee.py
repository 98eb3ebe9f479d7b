"""Which pass of a run decides its memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from etude.batch import Sample, TokenRow
from etude.config import load_run_file
from etude.cycle import foresee
from etude.cycle.foresee import Foreseen, Kept, rows_of, rows_of_run
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Quiet
from etude.data.batches import OfflineBatches
from etude.models.recompute import kept_bytes
from etude.planning.calibration import known_operations_per_second
from etude.planning.shape import shape_of
from tests.toy import toy_module

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cycle.conftest import Desk

SHORT, LONG = 30, 33


def test_a_pass_that_is_not_computed_again_keeps_more_than_a_longer_one_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = toy_module(hidden=64)
    shape = shape_of(module, name="toy")
    rows = [  # a row's last token predicts nothing, so it is not computed
        Sample(f"f.jsonl:{size}", (TokenRow(tuple(range(3, 4 + size)), (0.0, *(1.0,) * size)),))
        for size in (SHORT, LONG)
    ]
    source = OfflineBatches(samples=tuple(rows))
    kept = Kept(shape, "auto", "float32")
    assert kept.of(LONG) == kept_bytes(module, LONG)
    assert rows_of(source, kept, batch_rows=1, seed=0, in_all=2).tokens == LONG

    monkeypatch.setattr(foresee, "MOST_KEPT_BYTES", kept_bytes(module, SHORT))
    kept = Kept(shape, "auto", "float32")
    assert kept.of(SHORT) == kept_bytes(module, SHORT) > kept.of(LONG)
    assert rows_of(source, kept, batch_rows=1, seed=0, in_all=2).tokens == SHORT


def test_answers_that_are_shorter_than_they_may_be_can_keep_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest are computed again; those that just are not decide the peak."""
    monkeypatch.chdir(desk.folder)
    desk.run_file(objective="grpo", rollouts={"group": 4, "max_new_tokens": 40, "rewards": [{"kind": "exact"}]})
    run_file = load_run_file(desk.folder / "toy.yaml")
    prepared = prepare_rows(run_file, Quiet(), quarantine=None)
    module = toy_module(hidden=64)
    kept = Kept(shape_of(module, name="toy"), "auto", "float32")
    longest = rows_of_run(run_file, prepared, kept)
    assert longest.sites == 4 * 40

    monkeypatch.setattr(foresee, "MOST_KEPT_BYTES", kept_bytes(module, longest.tokens - 60))
    found = rows_of_run(run_file, prepared, kept)
    assert kept.recomputes(longest.tokens)
    assert (found.tokens, found.sites) == (longest.tokens - 60, 4 * 25)
    assert replace(found, tokens=longest.tokens, sites=longest.sites, tables=longest.tables) == longest
    always = replace(kept, setting="always")
    assert rows_of_run(run_file, prepared, always) == longest


def test_looks_at_held_out_rows_count_as_often_as_they_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    kept = Kept(shape_of(toy_module(hidden=64), name="toy"), "auto", "float32")

    def looked_at(**training: object) -> float:
        desk.run_file(training=training)
        run_file = load_run_file(desk.folder / "toy.yaml")
        found = rows_of_run(run_file, prepare_rows(run_file, Quiet(), quarantine=None), kept)
        return found.amount.reference_tokens

    once = looked_at(heldout_every=12)
    assert [looked_at(heldout_every=every) / once for every in (5, 4, 1)] == [3, 3, 12]
    assert looked_at() / once == 10


def test_a_run_teaches_the_speed_of_the_machine_once_and_only_where_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path))
    run = Foreseen(*(None,) * 4, operations=6e12, room=0.0, tells_speed=False)  # type: ignore[arg-type]  # sizes tell nothing here

    def known() -> float | None:
        return known_operations_per_second(tmp_path, precision="float32")

    run.learn_speed("float32", 3.0)
    assert known() is None
    run = replace(run, tells_speed=True)
    run.learn_speed("float32", 3.0)
    run.learn_speed("float32", 30.0)
    assert known() == 2e12
