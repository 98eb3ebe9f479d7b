"""Whole rows: structure stays, JSON stays JSON, a value goes wherever it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.redaction.detect import KINDS, DetectOptions
from etude.data.redaction.rows import Redactor
from etude.data.redaction.surrogates import Surrogates

MASKS = Redactor(DetectOptions())
FAKES = Redactor(DetectOptions(), replace=Surrogates(b"k" * 32).fake)


def test_a_value_goes_wherever_it_stands_in_the_row():
    row = {
        "prompt": "My name is Ann Miller.",
        "completion": "Miller, Ann: case open",
        "notes": ["ask ann? no: Ann Miller"],
    }
    made, counts = MASKS.values(row)
    assert "Miller" not in str(made)
    assert "Ann" not in str(made)
    assert counts["name"] == 4


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "Ann Miller", "ok": true}',
        '{"name":"Ann Miller","ok":true}',
        '[\n  {\n    "name": "Ann Miller"\n  }\n]',
        ' {"name": "Ann Miller", "city": "K\\u00f6ln"} ',
    ],
)
def test_json_answers_keep_their_form(written):
    made, counts = MASKS.values({"answer": written})
    assert made["answer"] == written.replace("Ann Miller", "[NAME]")
    assert counts["name"] == 1


def test_tool_calls_and_numbers():
    call = {"name": "find_customer", "arguments": json.dumps({"ssn": 123456789, "phone": "5550132", "limit": 10})}
    row = {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": call}]}]}
    masked = MASKS.values(row)[0]["messages"][0]["tool_calls"][0]["function"]
    assert masked["name"] == "find_customer"
    assert json.loads(masked["arguments"]) == {"ssn": "[NATIONAL_ID]", "phone": "[PHONE]", "limit": 10}
    faked = json.loads(FAKES.values(row)[0]["messages"][0]["tool_calls"][0]["function"]["arguments"])
    assert isinstance(faked["ssn"], int)
    assert faked["ssn"] != 123456789
    assert len(faked["phone"]) == 7


def test_only_the_named_columns():
    redactor = Redactor(DetectOptions(), columns=frozenset({"a"}))
    assert redactor.values({"a": "x@y.com", "b": "x@y.com"})[0] == {"a": "[EMAIL]", "b": "x@y.com"}


def test_masked_text_stays_as_it_is():
    text = "I'm Ann Miller, ann@x.com, (415) 555-0132, 12 Main Street, Springfield, IL 62704, password: hunter2x"
    once, counts = MASKS.text(text)
    assert sum(counts.values()) == 5
    assert MASKS.text(once) == (once, {})


def shape(value):
    if isinstance(value, dict):
        return {key: shape(held) for key, held in value.items()}
    return (
        [shape(held) for held in value] if isinstance(value, list) else isinstance(value, str) or type(value).__name__
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(["Ann Miller", "a@b.com"]),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=8), held, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4), st.booleans())
def test_any_row_keeps_its_structure(row, fake):
    made, _ = (FAKES if fake else MASKS).values(row)
    assert shape(made) == shape(row)
    nested, _ = (FAKES if fake else MASKS).values({"answer": json.dumps(row)})
    assert shape(json.loads(nested["answer"])) == shape(row) or not row


def test_every_kind_is_masked_by_its_name():
    redactor = Redactor(DetectOptions(kinds=tuple(KINDS)))
    assert redactor.text("born 12 March 1980")[0] == "born [BIRTH_DATE]"
