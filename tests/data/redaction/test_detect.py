"""People, addresses, phones, dates in sentences; how overlaps end; all kinds on any text."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.redaction.detect import KINDS, ORDER, PRESETS, USUAL, DetectOptions, detect
from etude.data.redaction.spans import Span, resolve

ALL = DetectOptions(kinds=tuple(KINDS))


def found(text, kind):
    return [text[span.start : span.stop] for span in detect(text, ALL) if span.kind == kind]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("My name is Ann Müller.", ["Ann Müller"]),
        ("Dr. House saw Mr. Kónya today.", ["House", "Kónya"]),
        ("Dear Wisława, see you on Monday", ["Wisława"]),
        ("Shane M Culp and I left", ["Shane M Culp"]),
        ("We met Donald Trump there", ["Donald Trump"]),
        ("founders: Kónya, Becker and Vasquez. The idea", ["Kónya", "Becker", "Vasquez"]),
        ("my name is lena andersson", ["lena andersson"]),
        ("Ann's phone is at Ann Miller's house", ["Ann", "Ann Miller"]),
        ("Will you mark the grace period in May?", []),
        ("The American people speak English.", []),
        ("Please Restart The Router", []),
        ("I love Python and Excel", []),
        ("C'mon, it's Monday", []),
    ],
)
def test_names(text, names):
    assert found(text, "name") == names


@pytest.mark.parametrize(
    "address",
    [
        "221B Baker Street, London NW1 6XE",
        "1600 Pennsylvania Avenue NW, Washington, DC 20500",
        "Hauptstraße 12, 10115 Berlin",
        "12 Rue de la Paix, 75002 Paris",
        "P.O. Box 1234, Austin TX 78701",
        "9448 Iroon Polytechniou Avenue\n Apt. 683\n Soloi\n Cyprus",
        "Via Roma 12, Torino",
        "12 Main Street",
    ],
)
def test_addresses_whole(address):
    assert found(f"Please write to {address}. Thank you!", "address") == [address]


@pytest.mark.parametrize(
    "text",
    [
        "I ran 3 miles on Main Street.",
        "In 2019 Google opened 5 Offices in Berlin",
        "World War 2 began in September 1939",
        "Chapter 3 Section 5 Page 12",
        "We sold 300 Apples in June 2020.",
    ],
)
def test_no_addresses(text):
    assert found(text, "address") == []


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("call (415) 555-0132 now", "(415) 555-0132"),
        ("+49 30 901820", "+49 30 901820"),
        ("they're not answering at 0664 1234567", "0664 1234567"),
        ("phone: 5550132", "5550132"),
        ("my order 41555501 is late", None),
        ("on 12/11/2019 or 2019-11-12", None),
        ("it cost $1,234,567.89", None),
        ("ticket number 4155550132", None),
    ],
)
def test_phones(text, phone):
    assert found(text, "phone") == ([phone] if phone else [])


def test_dates_births_and_ages():
    text = "Born on 12 March 1980, aged 45, seen 2024-05-06 and May 7th; I'm 45. A 30 year old house in 1984."
    assert found(text, "birth-date") == ["12 March 1980"]
    assert found(text, "date") == ["2024-05-06", "May 7th"]
    assert found(text, "age") == ["45", "45", "30"]


def test_numbers_of_a_profession():
    text = "MRN: 00482913, policy number ZX-12345; case no. 1:21-cv-01234, account number 9912345. Chart 12."
    assert found(text, "medical-record") == ["00482913", "ZX-12345"]
    assert found(text, "case-number") == ["1:21-cv-01234"]
    assert found(text, "account-number") == ["9912345"]


def test_the_longer_one_counts_and_no_character_is_lost():
    spans = [Span(0, 10, "name"), Span(4, 18, "email"), Span(12, 14, "phone"), Span(18, 20, "ip")]
    assert resolve(spans, ORDER) == [Span(0, 4, "name"), Span(4, 18, "email"), Span(18, 20, "ip")]


spans = st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from(USUAL)).map(
    lambda made: Span(made[0], made[0] + made[1], made[2])
)


@given(st.lists(spans, max_size=8))
def test_resolved_spans_cover_the_same_and_do_not_overlap(made):
    resolved = resolve(made, ORDER)
    assert {at for span in resolved for at in range(span.start, span.stop)} == {
        at for span in made for at in range(span.start, span.stop)
    }
    assert all(a.stop <= b.start for a, b in pairwise(resolved))


@given(st.text(max_size=300))
def test_any_text_is_taken_apart_without_an_error(text):
    for span in detect(text, ALL):
        assert 0 <= span.start < span.stop <= len(text)


@pytest.mark.parametrize("piece", ["1 ", "a@", "(1) ", "12 Main Street, ", "password: ", "Ann, ", "1:", "a"])
def test_long_texts_take_time_in_proportion(piece):
    text = piece * (20_000 // len(piece)) + "@"
    started = time.perf_counter()
    detect(text, ALL)
    assert time.perf_counter() - started < 20


def test_unknown_kinds_are_named():
    assert "unknown kind 'emial'" in DetectOptions(kinds=("emial",)).problems()[0]
    assert all(not DetectOptions(kinds=kinds).problems() for kinds in PRESETS.values())


def test_another_finder_is_heard():
    text = "Zyx called"
    finder = lambda given: [(0, 3, "name"), (4, 10, "place")]  # noqa: E731
    assert detect(text, DetectOptions(kinds=("name",)), finders=[finder]) == [Span(0, 3, "name")]
