"""Numbers as people read them, and untrusted texts as they can be seen."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.pages import wording


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (0.04117, "0.0412"), (1.934, "1.93"), (12345.6, "12,346"), (-0.5, "−0.500"), (999.6, "1,000"),
        (3.2e-9, "3.20e−9".replace("−9", "−09")), (math.nan, "not a number"), (-math.inf, "−infinite"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, said: str) -> None:
    assert wording.number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.84, "0.8 s"), (9.94, "9.9 s"), (47.4, "47 s"), (59.7, "1 min 0 s"), (252, "4 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert wording.duration(seconds).replace("\u202f", " ") == said


def test_shares_and_differences() -> None:
    assert wording.percent(0.0314).replace("\u202f", " ") == "3.1 %"
    assert wording.points(-0.005) == "−0.5"
    assert wording.points(0.883) == "+88.3"
    assert wording.interval(-math.inf, 0.5, is_share=True) == "unknown: too few items"
    assert wording.interval(0.821, 0.919, is_share=True).replace("\u202f", " ") == "82.1 to 91.9 %"


def test_sizes_and_p_values() -> None:
    assert [wording.size(count).replace("\u202f", " ") for count in (512, 38_400, 1_200_000_000, 5 * 10**13)] == [
        "512 B", "38.4 kB", "1.2 GB", "50000.0 GB",
    ]  # fmt: skip
    said = [wording.p_value(p).replace("\u202f", " ") for p in (1e-12, 0.0002, 0.04)]
    assert said == ["p < 1e-9", "p = 2.0e-04", "p = 0.040"]


@given(st.text(st.characters()))
def test_every_character_of_a_visible_text_can_be_seen_and_encoded(text: str) -> None:
    shown = wording.visible(text)
    shown.encode("utf-8")
    assert not {"Cs", "Zl", "Zp", "Co"} & {unicodedata.category(letter) for letter in shown}
    assert all(letter in "\n\t" for letter in shown if unicodedata.category(letter) == "Cc")
    assert wording.visible(shown) == shown


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs"))))
def test_ordinary_texts_are_left_alone(text: str) -> None:
    assert wording.visible(text) == text
    kept, left_out = wording.clipped(text, 10)
    assert text.startswith(kept)
    assert len(kept) + left_out == len(text)


@given(st.text(st.characters()))
def test_labels_are_one_short_line(text: str) -> None:
    found = wording.label(text, 12)
    assert len(found) <= 12
    assert "\n" not in found
