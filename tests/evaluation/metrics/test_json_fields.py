"""JSON tasks: validity, fields and objects, by hand and by property."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.evaluation.metrics.json_fields import JsonFields
from etude.json_values import flatten, parse_object, same

REFERENCE = '{"intent": "refund", "order": {"id": 7, "lines": [1, 2]}, "urgent": true, "note": null}'


@pytest.mark.parametrize(
    ("answer", "valid", "match", "f1"),
    [
        (REFERENCE, 1, 1, 1.0),
        (' {"order": {"lines": [1.0, 2], "id": 7.0}, "note": null, "urgent": true, "intent": "refund"}\n', 1, 1, 1.0),
        ('{"intent": "refund", "order": {"id": 8, "lines": [2, 1]}, "urgent": true, "note": null}', 1, 0, 2 * 3 / 10),
        ('{"intent": "refund"}', 1, 0, 2 / 6),
        ('{"intent": "Refund", "urgent": 1, "more": 2}', 1, 0, 0.0),
        ('Here you are: {"intent": "refund"}', 0, 0, 0.0),
        ('```json\n{"intent": "refund"}\n```', 0, 0, 0.0),
        ('{"intent": "refund", "intent": "other"}', 0, 0, 0.0),
        ('{"intent": NaN}', 0, 0, 0.0),
        ('["refund"]', 0, 0, 0.0),
        ("", 0, 0, 0.0),
        ("[" * 100_000, 0, 0, 0.0),
        ("{}", 1, 0, 0.0),
    ],
)
def test_scores_by_hand(answer: str, valid: int, match: int, f1: float) -> None:
    scored = JsonFields().score(answer, REFERENCE)
    assert scored.scores == {"object_match": match, "valid_json": valid, "field_f1": pytest.approx(f1)}


def test_every_field_has_a_fate() -> None:
    scored = JsonFields().score('{"intent": "other", "order": {"id": 7}, "urgent": true, "more": 1}', REFERENCE)
    assert scored.details["fields"] == {
        "intent": "wrong", "order.id": "right", "order.lines": "missing", "urgent": "right", "note": "missing",
        "more": "extra",
    }  # fmt: skip


def test_only_the_declared_fields_count() -> None:
    scored = JsonFields(fields=("order", "urgent")).score(
        '{"order": {"id": 7, "lines": [1, 2]}, "urgent": true, "x": 1}', REFERENCE
    )
    assert scored.scores["object_match"] == 1
    assert set(scored.details["fields"]) == {"order.id", "order.lines", "urgent"}


def test_the_table_and_the_pooled_figures_by_hand() -> None:
    metric = JsonFields()
    references = ['{"a": 1, "b": 2}', '{"a": 1, "b": 2}']
    scored = [
        metric.score(answer, REF)
        for answer, REF in zip(['{"a": 1, "b": 3}', '{"a": 1, "c": 0}'], references, strict=True)
    ]
    found = metric.summarize(scored, references)
    rows = {row["field"]: row for row in found.tables["fields"]}
    assert rows["a"]["accuracy"] == rows["a"]["f1"] == 1.0
    assert (rows["b"]["right"], rows["b"]["wrong"], rows["b"]["missing"], rows["b"]["recall"]) == (0, 1, 1, 0.0)
    assert (rows["c"]["count"], rows["c"]["extra"], rows["c"]["precision"]) == (0, 1, 0.0)
    # 2 right of 4 answered and of 4 wanted
    assert found.scores["micro_precision"] == found.scores["micro_recall"] == found.scores["micro_f1"] == 0.5
    assert found.intervals["micro_f1"] == (0.5, 0.5)


def test_references_that_cannot_be_scored() -> None:
    found = JsonFields(fields=("a",)).unusable(['{"a": 1}', "{}", "[1]", '{"b": 1}', "{'a': 1}"])
    assert [place for place, _ in found] == [1, 2, 3, 4]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(), values, min_size=1, max_size=4)


@given(objects, objects)
def test_scores_stay_in_range_and_an_object_matches_itself(
    answer: dict[str, object], reference: dict[str, object]
) -> None:
    metric = JsonFields()
    wanted = json.dumps(reference)
    itself = metric.score(json.dumps(reference, indent=2, sort_keys=True), wanted)
    assert set(itself.scores.values()) == {1.0}
    other = metric.score(json.dumps(answer), wanted)
    assert 0 <= other.scores["field_f1"] <= 1
    assert other.scores["object_match"] <= other.scores["valid_json"]


@given(st.text())
def test_any_answer_at_all_can_be_scored(answer: str) -> None:
    assert JsonFields().score(answer, '{"a": 1}').scores["object_match"] in (0, 1)


@given(values)
def test_same_is_reflexive_and_tells_types_apart(value: object) -> None:
    assert same(value, value)
    assert not same(value, [value])
    assert not same(True, 1)
    assert not same("1", 1)


def test_flatten_keeps_lists_and_empty_objects_whole() -> None:
    assert flatten({"a": {"b": [{"c": 1}], "d": {}}, "e": 1}) == {("a", "b"): [{"c": 1}], ("a", "d"): {}, ("e",): 1}
    assert parse_object("{}") == {}


def test_infinity_by_overflow_equals_nothing() -> None:
    assert JsonFields().score('{"a": 1e999}', '{"a": 1e998}').scores["object_match"] == 0
