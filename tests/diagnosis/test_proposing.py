"""Budgets are divided by what there is to win, and no row is proposed twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from etude.cycle.iteration_limits import IterateOptions, budget_left, limit_reached
from etude.diagnosis.explanation import Slice
from etude.diagnosis.iterations import IterationRecord, best_of
from etude.diagnosis.proposing import Quota, chosen, need, quotas


def part(name: str, excess: float, rows: int | None = None, usual: float | None = None) -> Slice:
    ends = (0.0, 1.0)
    found = Slice(name, "label", name, 20, 10, 0.5, ends, 0.9, 0.4, ends, 0.001, True, excess)
    return replace(found, training_rows=rows, usual_rows=usual)


def test_a_budget_is_divided_by_what_there_is_to_win() -> None:
    found = quotas([part("a", 30), part("b", 10)], 40)
    assert [(one.slice.name, one.rows) for one in found] == [("a", 30), ("b", 10)]


def test_what_a_label_cannot_use_goes_to_the_others() -> None:
    found = quotas([part("a", 30, rows=38, usual=40), part("b", 10, rows=2, usual=40)], 60)
    assert [(one.slice.name, one.rows) for one in found] == [("a", 30), ("b", 30)]
    assert need(part("c", 3, rows=2, usual=40)) == 38
    assert need(part("c", 3, rows=50, usual=40)) == 3
    assert quotas([part("c", 3, rows=50, usual=40)], 100)[0].rows == 3


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=8), st.integers(1, 200))
def test_no_row_of_the_budget_is_lost_or_spent_twice(excess: list[float], budget: int) -> None:
    found = quotas([part(str(at), one) for at, one in enumerate(excess)], budget)
    assert sum(one.rows for one in found) == budget


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.lists(st.integers(0, 12), unique=True, max_size=9)), min_size=1, max_size=5
    )
)
def test_slices_choose_in_turn_and_no_row_twice(wishes: list[tuple[int, list[int]]]) -> None:
    wanted = [Quota(part(str(at), 1.0), rows) for at, (rows, _) in enumerate(wishes)]
    picked, lacking = chosen(wanted, {str(at): ranking for at, (_, ranking) in enumerate(wishes)})
    assert len({row for row, _ in picked}) == len(picked)
    for at, (rows, ranking) in enumerate(wishes):
        own = [row for row, name in picked if name == str(at)]
        assert set(own) <= set(ranking)
        assert len(own) + lacking.get(str(at), 0) == rows
        if lacking.get(str(at)):  # nothing that it could have had was left
            assert set(ranking) <= {row for row, _ in picked}


def record(number: int, score: float, *, added: int = 0, seconds: float = 60.0, higher: bool = True) -> IterationRecord:
    ends = (score - 0.1, score + 0.1)
    scores = (score, ends, 20, score, ends, 20)
    rows = {"a": added} if added else {}
    return IterationRecord(number, "run", 10, rows, "accuracy", higher, *scores, ("a",), seconds)


def test_limits_end_it() -> None:
    options = IterateOptions(pool="pool.jsonl", iterations=2, rows=30, most_rows=40, minutes=4.5)
    first, second = record(0, 0.5), record(1, 0.6, added=30)
    assert limit_reached(options, [first]) is None
    assert budget_left(options, [first, second]) == 10
    assert limit_reached(options, [first, second, record(2, 0.6)]) == "all 2 retrainings were made"
    assert limit_reached(options, [first, record(1, 0.6, added=40)]) == "all 40 rows were added"
    assert limit_reached(options, [first, record(1, 0.6, seconds=120)]) == "another retraining would pass 4.5 minutes"
    wrong = IterateOptions(rows=0, minutes=0, final_share=1.0).problems()
    assert [name for name, _ in wrong] == ["pool", "rows", "minutes", "final_share"]


def test_the_best_is_chosen_by_the_steering_part() -> None:
    assert best_of((record(0, 0.5), record(1, 0.7), record(2, 0.7))).number == 1
    assert best_of((record(0, 5.0, higher=False), record(1, 4.0, higher=False))).number == 1
