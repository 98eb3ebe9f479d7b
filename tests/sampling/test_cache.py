"""The cache: what is appended comes back, however it grew and whichever rows were taken."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from etude.sampling.cache import RowCache


@given(st.integers(0, 6), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_it_holds_what_transformers_own_cache_holds(capacity: int, sizes: list[int], data: st.DataObject) -> None:
    ours, theirs, rows = RowCache(capacity), DynamicCache(), 3
    for step, size in enumerate(sizes):
        if step and data.draw(st.booleans()):
            taken = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=4)))
            ours.keep(taken)
            theirs.reorder_cache(taken)  # type: ignore[arg-type]
            rows = len(taken)
        for layer in range(2):
            key, value = torch.randn(rows, 2, size, 4), torch.randn(rows, 2, size, 3)
            found = ours.for_model.update(key, value, layer)
            wanted = theirs.update(key, value, layer)
            assert torch.equal(found[0], wanted[0])
            assert torch.equal(found[1], wanted[1])
        assert ours.for_model.get_seq_length() == theirs.get_seq_length() == sum(sizes[: step + 1])
        assert ours.for_model.get_mask_sizes(2, 0) == theirs.get_mask_sizes(2, 0)


def test_taking_rows_leaves_the_old_cache_alone() -> None:
    shared = RowCache(3)
    key = torch.randn(1, 2, 3, 4)
    shared.for_model.update(key, key, 0)
    wide = shared.taking(torch.tensor([0, 0]), capacity=8)
    found, _ = wide.for_model.update(torch.zeros(2, 2, 1, 4), torch.zeros(2, 2, 1, 4), 0)
    assert torch.equal(found[:, :, :3], key.expand(2, 2, 3, 4))
    assert shared.for_model.get_seq_length() == 3
    assert torch.equal(shared.for_model.update(key, key, 0)[0], torch.cat([key, key], 2))


def test_a_step_within_the_capacity_allocates_nothing() -> None:
    cache = RowCache(8)
    one = torch.randn(2, 2, 1, 4)
    first, _ = cache.for_model.update(one, one, 0)
    for _ in range(7):
        last, _ = cache.for_model.update(one, one, 0)
    assert last.data_ptr() == first.data_ptr()
    grown, _ = cache.for_model.update(one, one, 0)
    assert grown.data_ptr() != first.data_ptr()
    assert torch.equal(grown, one.expand(2, 2, 9, 4))
