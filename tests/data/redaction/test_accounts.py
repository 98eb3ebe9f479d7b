"""Accounts and addresses of the network: forms with a checksum or a grammar of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import iban as stdnum_iban
from stdnum import luhn as stdnum_luhn

from etude.data.redaction.accounts import (
    cards,
    emails,
    ibans,
    ip_addresses,
    is_iban,
    luhn,
    mac_addresses,
    url_credentials,
    urls,
)


def found(detector, text):
    return [text[start:stop] for start, stop in detector(text)]


@given(st.text("0123456789", min_size=2, max_size=20))
def test_luhn_agrees_with_a_library(digits):
    assert luhn(digits) == stdnum_luhn.is_valid(digits)


@pytest.mark.parametrize("written", ["DE89 3704 0044 0532 0130 00", "GB33BUKB20201555555555", "NO93 8601 1117 947"])
def test_ibans_with_their_checksum_and_no_word_more(written):
    assert stdnum_iban.is_valid(written)
    assert found(ibans, f"pay to {written} from my account") == [written]
    wrong = written[:-1] + str((int(written[-1]) + 1) % 10)
    assert not is_iban(wrong)
    assert found(ibans, f"the code {wrong} on the box") == []
    assert found(ibans, f"my IBAN is {wrong}") == [wrong], "mistyped, but said to be one"


@pytest.mark.parametrize(
    "number", ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "6011000000000004"]
)
def test_cards_by_brand_and_checksum(number):
    assert found(cards, f"it is {number}, thanks") == [number]
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert found(cards, f"order {wrong} is late") == []
    assert found(cards, f"my card number is {wrong}") == [wrong]


def test_a_long_number_without_a_brand_is_no_card():
    assert found(cards, "tracking 9400110200881234567897 and 1234567812345670") == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Write to Ann.O-Neil+tag@mail.example.co.uk.", "Ann.O-Neil+tag@mail.example.co.uk"),
        ("mailto:ann@example.com?subject=hi", "ann@example.com"),
        ("ann (at) example (dot) com", "ann (at) example (dot) com"),
        ("jörg@müller.de,", "jörg@müller.de"),
        ("meet me at dot com", None),
        ("@handle on a network", None),
        ("x = a @ b", None),
        ("postgres://bob:hunter2@db.example.com/x", None),
    ],
)
def test_emails(text, address):
    assert found(emails, text) == ([address] if address else [])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("from 10.0.0.12 port 22", "10.0.0.12"),
        ("see [2001:db8::8a2e:370:7334]:443", "2001:db8::8a2e:370:7334"),
        ("fe80::1 answered", "fe80::1"),
        ("version 1.2.3.4 is out", None),
        ("section 1.2.3.4", None),
        ("999.1.1.1", None),
        ("std::vector and a::b", None),
        ("at 12:30:45", None),
        ("1.2.3.4.5", None),
    ],
)
def test_ip_addresses(text, address):
    assert found(ip_addresses, text) == ([address] if address else [])


def test_hardware_addresses():
    assert found(mac_addresses, "00:1A:2b:3c:4d:5e, 00-1A-2B-3C-4D-5E and 001a.2b3c.4d5e; not 00:1A-2b:3c:4d:5e") == [
        "00:1A:2b:3c:4d:5e",
        "00-1A-2B-3C-4D-5E",
        "001a.2b3c.4d5e",
    ]


def test_urls_end_before_the_sentence_does():
    assert found(urls, "See https://a.example/x?y=1, (www.b.example/z) or http://c.example.") == [
        "https://a.example/x?y=1",
        "http://c.example",
        "www.b.example/z",
    ]
    assert found(url_credentials, "redis://:s3cret@h:6379 and https://ann:pw@h/x; https://h:8080/a@b") == [
        ":s3cret",
        "ann:pw",
    ]
