"""Which items a limit leaves."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from etude.evaluation.items import some


@given(st.integers(0, 60), st.integers(1, 70))
def test_so_many_in_their_order_and_evenly(there: int, limit: int) -> None:
    items = range(there)
    found = list(some(items, limit))
    assert found == sorted(set(found))
    assert len(found) == min(there, limit)
    gaps = [after - before for before, after in pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert set(found) <= set(some(items, 2 * limit)), "a larger limit asks the same ones too"


def test_a_sorted_file_is_not_only_its_first_label() -> None:
    assert set(some(["a"] * 40 + ["b"] * 40 + ["c"] * 40, 3)) == {"a", "b", "c"}
    assert some([1, 2], None) == [1, 2]
