"""Prompts are filled in one pass, and answers are read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.synthesis.templates import JUDGE, filled, read_example, read_score, read_template
from etude.errors import ConfigError

TEXT = st.text(min_size=1).filter(lambda text: text.strip())


@given(TEXT, TEXT, st.booleans())
def test_an_example_comes_back_as_it_was_written(prompt: str, completion: str, fenced: bool) -> None:
    text = json.dumps({"completion": completion, "prompt": prompt})
    found = read_example(f"```json\n{text}\n```" if fenced else text)
    assert found == (prompt.strip(), completion.strip())


def test_an_object_as_completion_is_kept_as_json() -> None:
    found = read_example('{"prompt": "where?", "completion": {"intent": "parcel", "n": 2}}')
    assert found == ("where?", '{"intent": "parcel", "n": 2}')


@pytest.mark.parametrize(
    "text",
    ["", "Sure!", "[]", '{"prompt": "a"}', '{"prompt": "a", "completion": ""}', '{"prompt": "a", "completion": 3}',
     '{"prompt": "a", "completion": "b", "more": 1}', 'Here: {"prompt": "a", "completion": "b"}'],
)  # fmt: skip
def test_anything_else_is_no_example(text: str) -> None:
    assert read_example(text) is None


@given(st.text(), st.text())
def test_what_texts_hold_is_never_taken_for_a_place(prompt: str, completion: str) -> None:
    once = filled(JUDGE, {"prompt": "{completion}" + prompt, "completion": completion})
    assert "{completion}" + prompt in once


@pytest.mark.parametrize(
    ("text", "score"),
    [("4", 4), (" 5\n", 5), ("Score: 2", 2), ("3/5", 3), ("5 out of 5", 5), ("4.", 4),
     ("4.5", None), ("10", None), ("0", None), ("2 or 3", None), ("none", None), ("-3", None)],
)  # fmt: skip
def test_a_judges_number_is_read_or_is_none(text: str, score: int | None) -> None:
    assert read_score(text) == score


def test_a_template_of_ones_own_has_its_places_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("Like {examples}: {json} stays", "utf-8")
    assert read_template(str(file), needs=("examples",), setting="--template") == "Like {examples}: {json} stays"
    with pytest.raises(ConfigError, match=r"lacks \{passage\}"):
        read_template(str(file), needs=("passage",), setting="--template")
    file.write_text("{examples} {passage}", "utf-8")
    with pytest.raises(ConfigError, match="nothing fills"):
        read_template(str(file), needs=("examples",), setting="--template")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_template(str(tmp_path / "none"), needs=("examples",), setting="--template")
