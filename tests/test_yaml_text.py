"""YAML as people write it, and the ways in which it goes wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import ConfigError
from etude.yaml_text import MAX_BYTES, dump, dump_inline, parse, read_text, show

NEEDS = "it needs a name"
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def value(text: str) -> object:
    return parse(text, where="x.yaml").value


@given(plain_values)
def test_what_is_written_reads_back_equal(found: object) -> None:
    assert value(dump({"a": found})) == {"a": found}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "text",
    [
        "1e-3",
        "1E5",
        "true",
        "null",
        "~",
        "0x1f",
        "0o17",
        "1_000",
        ".inf",
        "-.5",
        "5.",
        "",
        "- a",
        "a: b",
        "#",
        "no",
        "\t",
        "é\n",
    ],
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert value(dump({"a": text, text: 1})) == {"a": text, text: 1}
    assert value(f"a: {dump_inline(text)}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001), ("2E4", 20000.0), ("1.5e+2", 150.0), (".5", 0.5), ("5.", 5.0), ("-3", -3), ("+3", 3),
        ("010", 10), ("16_384", 16384), ("0x1F", 31), ("0o17", 15), ("true", True), ("False", False),
        ("no", "no"), ("on", "on"),
        ("1:30", "1:30"), ("2026-11-22", "2026-11-22"), ("~", None), ("", None), ("null", None),
        ("'1'", "1"), ("1e", "1e"),
    ],
)  # fmt: skip
def test_plain_values_mean_what_they_look_like(text: str, expected: object) -> None:
    found = value(f"a: {text}")
    assert found == {"a": expected}
    assert type(found["a"]) is type(expected)  # type: ignore[index]


def test_infinity_and_nan_are_numbers() -> None:
    assert value("a: -.inf") == {"a": -math.inf}
    assert math.isnan(value("a: .NaN")["a"])  # type: ignore[index]


def test_every_key_and_item_has_its_line() -> None:
    lines = parse("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", where="x.yaml").lines
    assert lines["a",] == 1
    assert lines["b", 0] == 3
    assert lines["b", 1, "d"] == 5


def test_a_key_given_twice_is_named_with_both_lines() -> None:
    document = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n", where="x.yaml")
    assert document.problems == (
        (("b", "c"), "given twice, on lines 2 and 2"),
        (("a",), "given twice, on lines 1 and 3"),
    )


def test_a_name_must_be_plain() -> None:
    assert "plain word" in parse("a: 1\n[b]: 2\n", where="x.yaml").problems[0][1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:\n\tb: 1\n", "x.yaml:2: a tab is used for indentation; YAML allows only spaces there"),
        ("a: b: c\n", "x.yaml:1: is not YAML: mapping values are not allowed here in 'a: b: c'"),
        ("a: [1, 2\nb: 3\n", "x.yaml:2: is not YAML"),
        ('{"a": "unclosed\n', "is not YAML"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("a: *nowhere\n", "undefined alias"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "x.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: !!python/name:os.system x\n", "the tag"),
        ("a: !mine x\n", "the tag '!mine' is not allowed"),
        ("a: !!int big\n", "'big' is not a number"),
        ("a: !!binary aGVsbG8=\n", "not allowed"),
        ("a: " + "9" * 5000, "is not a number"),
        ("# nothing\n", "holds only comments"),
        ("a: \x00\n", "is not YAML"),
        ("[" * 100_000, "more than 20 levels deep"),
        ("a: [" + "1," * 30_000 + "]", "more than 10,000 values long"),
        ("a: &a [*a]\n", "without bound"),
    ],
)
def test_one_line_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, where="x.yaml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_alias_bomb_is_refused() -> None:
    layers = [
        f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(ConfigError, match="without bound"):
        parse("\n".join(["a: &a [x, x]", *layers]), where="x.yaml")


def test_reading_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes("\ufeffa: é\r\n".encode())
    assert parse(read_text(file, needs=NEEDS), where="x").value == {"a": "é"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; it needs a name"),
        (b" \n\n", "is empty"),
        ("a: é".encode("latin-1"), "is not UTF-8 text (byte 0xe9 at offset 3); save it as UTF-8"),
        ("a: 1".encode("utf-16"), "is not UTF-8 text (byte 0xff at offset 0)"),
        (b"x" * (MAX_BYTES + 1), "is this a data file?"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_text(file, needs=NEEDS)
    assert says in str(error.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "tickets.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"no such file; did you mean '.*tickets\.yaml'\?"):
        read_text(tmp_path / "ticket.yml", needs=NEEDS)
    with pytest.raises(ConfigError, match="there is no folder"):
        read_text(tmp_path / "nowhere" / "run.yaml", needs=NEEDS)
    with pytest.raises(ConfigError, match="is a folder"):
        read_text(tmp_path, needs=NEEDS)


def test_places_are_shown_as_people_write_them() -> None:
    assert show(("evaluation", "tasks", 0)) == "evaluation.tasks[0]"
