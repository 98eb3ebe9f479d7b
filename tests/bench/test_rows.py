"""Both sides get the same rows in the same order."""

from __future__ import annotations

import pytest

from bench.ours.rows import GROUP, advantage
from bench.ours.training import in_order, samples_of
from etude.data.batches import OfflineBatches


def test_the_loop_is_given_the_rows_in_the_files_order() -> None:
    file = {"samples": [[[[at, at + 1, at + 2], [0.0, 1.0, 1.0]]] for at in range(10)]}
    samples = samples_of(file)
    source = OfflineBatches(samples=in_order(samples))
    steps = source.steps(batch_rows=4, seed=0, first=0, total_samples=10, share=lambda chosen: chosen)
    assert [name for step in steps for name in step.sample_ids] == [str(at) for at in range(10)]


def test_advantages_of_a_group_are_standardised_and_never_zero() -> None:
    found = [advantage(rank) for rank in range(GROUP)]
    assert sum(found) == pytest.approx(0.0)
    assert sum(value**2 for value in found) == pytest.approx(GROUP - 1)
    assert all(found)
