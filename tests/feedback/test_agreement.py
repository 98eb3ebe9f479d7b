"""Krippendorff's alpha against the package of that name and a published example; its interval; pairs of people."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.feedback.agreement import Level, krippendorff_alpha, last_said, pairwise

LEVELS: list[Level] = ["nominal", "ordinal", "interval"]
MATRIX = st.integers(2, 5).flatmap(
    lambda people: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=people, max_size=people), min_size=2, max_size=12
    )
)
"""Items by people, None where somebody said nothing."""


def units_of(matrix: list[list[int | None]]) -> dict[str, dict[str, float]]:
    return {
        str(item): {str(who): float(value) for who, value in enumerate(said) if value is not None}
        for item, said in enumerate(matrix)
    }


@pytest.mark.parametrize("level", LEVELS)
@given(matrix=MATRIX)
@settings(max_examples=60, deadline=None)
def test_alpha_is_the_package_s(level: Level, matrix: list[list[int | None]]) -> None:
    data = np.array([[np.nan if value is None else value for value in said] for said in matrix]).T
    pairable = [[v for v in said if v is not None] for said in matrix]
    values = {value for said in pairable if len(said) > 1 for value in said}
    found = krippendorff_alpha(units_of(matrix), level)
    if len(values) < 2:
        assert found is None
        return
    assert found is not None
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.units == sum(len(said) > 1 for said in pairable)
    assert found.low <= found.high <= 1


def test_the_published_example() -> None:
    """Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C: four observers, twelve units."""
    rows = [
        "1 1 . 1", "2 2 3 2", "3 3 3 3", "3 3 3 3", "2 2 2 2", "1 2 3 4", "4 4 4 4", "1 1 2 1", "2 2 2 2", ". 5 5 5",
        ". . 1 1", ". . 3 .",
    ]  # fmt: skip
    matrix = [[None if one == "." else int(one) for one in row.split()] for row in rows]
    found = [krippendorff_alpha(units_of(matrix), level) for level in LEVELS]
    assert [one and round(one.value, 3) for one in found] == [0.743, 0.815, 0.849]


def test_the_interval_holds_what_more_items_show() -> None:
    """Of 60 samples of 40 items about 95 % of the intervals hold the alpha of very many."""
    draw = np.random.default_rng(3)

    def told(items: int) -> dict[str, dict[str, float]]:
        true = draw.integers(0, 2, items)
        right = draw.random((items, 3)) < 0.8
        return {str(i): {str(a): float(true[i] == right[i, a]) for a in range(3)} for i in range(items)}

    whole = krippendorff_alpha(told(20_000))
    assert whole is not None
    inside = 0
    for _ in range(60):
        found = krippendorff_alpha(told(40))
        assert found is not None
        inside += found.low <= whole.value <= found.high
    assert inside >= 53


def test_alpha_of_nothing_to_compare() -> None:
    assert krippendorff_alpha({}) is None
    assert krippendorff_alpha({"a": {"x": 1.0}, "b": {"y": 0.0}}) is None
    assert krippendorff_alpha({"a": {"x": 1.0, "y": 1.0}}) is None
    one = krippendorff_alpha({"a": {"x": 1.0, "y": 0.0}})
    assert one is not None
    assert one.low == float("-inf")


def test_two_at_a_time() -> None:
    units = last_said(
        [("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", -1), ("b", "y", 1), ("c", "x", 0), ("c", "z", 1)]
    )
    assert [(one.one, one.other, one.share, one.items) for one in pairwise(units)] == [
        ("x", "y", 1, 2),
        ("x", "z", 0, 1),
    ]
