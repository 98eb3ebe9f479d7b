"""Which pass of a run decides its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etude.batch import Sample, TokenRow
from etude.cycle import foresee
from etude.cycle.foresee import kept_by, rows_of
from etude.data.batches import OfflineBatches
from etude.models.recompute import kept_bytes
from etude.planning.shape import shape_of
from tests.toy import toy_module

if TYPE_CHECKING:
    import pytest

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
    kept = kept_by(shape, "auto", "float32")
    assert kept(LONG) == kept_bytes(module, LONG)
    assert rows_of(source, kept, batch_rows=1, seed=0, in_all=2).tokens == LONG

    monkeypatch.setattr(foresee, "MOST_KEPT_BYTES", kept_bytes(module, SHORT))
    kept = kept_by(shape, "auto", "float32")
    assert kept(SHORT) == kept_bytes(module, SHORT) > kept(LONG)
    assert rows_of(source, kept, batch_rows=1, seed=0, in_all=2).tokens == SHORT
