"""Fakes: consistent, in their original's form, valid, never equal to it."""

from __future__ import annotations

import ipaddress
import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban as stdnum_iban
from stdnum import luhn as stdnum_luhn
from stdnum.es import dni
from stdnum.gb import nhs
from stdnum.pl import pesel

from etude.data.redaction.detect import KINDS
from etude.data.redaction.shifted_dates import shifted
from etude.data.redaction.surrogates import MAKERS, Surrogates

ONE, OTHER = Surrogates(b"1" * 32), Surrogates(b"2" * 32)
VALUES = {
    "secret": "sk_live_51H8sdkfjhskdfjhTYtyq", "url-credentials": "bob:hunter2", "email": "ann.miller77@gmail.com",
    "iban": "DE89 3704 0044 0532 0130 00", "card": "4111-1111-1111-1111", "national-id": "123-45-6789", "ip": "8.8.8.8",
    "mac": "00:1a:2b:3c:4d:5e", "medical-record": "ZX-00123", "case-number": "1:21-cv-01234",
    "account-number": "9912345",
    "birth-date": "12 March 1980", "phone": "(415) 555-2671", "url": "https://www.acme.com/a?b=1", "date": "2024-02-29",
    "age": "41", "address": "12 Main Street, Springfield, IL 62704", "organisation": "Acme Widgets Inc",
    "name": "Ann Miller", "place": "Lisbon",
}  # fmt: skip


def test_there_is_a_maker_and_an_example_for_every_kind():
    assert MAKERS.keys() == KINDS.keys() == VALUES.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_same_value_same_fake_and_another_one_with_another_key(kind):
    fake = ONE.fake(kind, VALUES[kind])
    assert fake == Surrogates(b"1" * 32).fake(kind, VALUES[kind])
    assert fake != VALUES[kind]
    assert len({Surrogates(bytes([n]) * 32).fake(kind, VALUES[kind]) for n in range(8)}) > 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(text=st.text(min_size=1, max_size=40))
def test_no_text_is_its_own_fake(kind, text):
    if kind == "age":
        text = str(len(text))
    if kind == "email":
        text += "@a.com"
    if kind in ("national-id", "phone", "card"):
        text = re.sub(r"[^0-9 -]", "1", text) + "23"
    if kind == "iban":
        text = "DE89" + re.sub(r"[^0-9A-Z]", "1", text)
    assert ONE.fake(kind, text).casefold() != text.casefold()


@pytest.mark.parametrize("number", ["4111-1111-1111-1111", "340000000000009", "6011 0000 0000 0004"])
def test_cards_keep_form_brand_and_checksum(number):
    fake = ONE.fake("card", number)
    assert re.sub(r"\d", "0", fake) == re.sub(r"\d", "0", number)
    assert fake[:2] == number[:2]
    assert stdnum_luhn.is_valid(re.sub(r"\D", "", fake))


@pytest.mark.parametrize(
    "account", ["DE89 3704 0044 0532 0130 00", "GB33BUKB20201555555555", "FR1420041010050500013M02606"]
)
def test_ibans_keep_country_and_checksum(account):
    fake = ONE.fake("iban", account)
    assert fake[:2] == account[:2]
    assert [char.isdigit() for char in fake] == [char.isdigit() for char in account]
    assert stdnum_iban.is_valid(fake, check_country=False)


def test_national_ids_keep_their_check_digits():
    assert dni.is_valid(ONE.fake("national-id", "12345678Z"))
    assert pesel.is_valid(ONE.fake("national-id", "44051401359"))
    assert nhs.is_valid(ONE.fake("national-id", "943 476 5919")) or "2" in ONE.fake("national-id", "943 476 5919")
    assert re.fullmatch(r"\d{3}-\d{2}-\d{4}", ONE.fake("national-id", "123-45-6789"))


def test_phones_stay_valid_in_their_country():
    from phonenumbers import is_valid_number, parse

    fake = ONE.fake("phone", "+49 30 901820")
    assert fake.startswith("+49 ")
    assert is_valid_number(parse(fake))
    assert is_valid_number(parse(ONE.fake("phone", "(415) 555-2671"), "US"))
    assert re.fullmatch(r"\(\d{3}\) \d{3}-\d{4}", ONE.fake("phone", "(415) 555-2671"))


def test_network_addresses_come_from_ranges_for_examples():
    assert ipaddress.ip_address(ONE.fake("ip", "8.8.8.8")) in ipaddress.ip_network("198.18.0.0/15")
    assert ipaddress.ip_address(ONE.fake("ip", "2a00:1450::1")) in ipaddress.ip_network("2001:db8::/32")
    assert ONE.fake("email", "ann@corp.com").endswith(".example")
    assert ONE.fake("mac", "00:1a:2b:3c:4d:5e").startswith("02:")


def test_a_person_is_the_same_person_everywhere():
    full = ONE.fake("name", "Ann Miller")
    assert ONE.fake("name", "Ann") == full.split()[0]
    assert ONE.fake("name", "Miller") == full.split()[1]
    assert ONE.fake("name", "ANN MILLER") == full.upper()
    assert ONE.fake("email", "ann.miller@x.com").startswith(full.lower().replace(" ", ".") + "@")
    assert ONE.fake("name", "Ann van der Miller Jr.").split()[1:3] == ["van", "der"]


def test_dates_move_together_and_keep_their_form():
    first, second = ONE.fake("date", "2024-02-28"), ONE.fake("date", "2024-03-01")
    assert (date.fromisoformat(second) - date.fromisoformat(first)).days == 2
    assert re.fullmatch(r"\d{1,2} [A-Z][a-z]+ \d{4}", ONE.fake("birth-date", "12 March 1980"))
    assert shifted("3/31/2024", 1) == "4/1/2024"
    assert shifted("31.03.24", 1) == "01.04.24"
    assert shifted("March 31st, 2024 at 10:30", 1) == "April 1st, 2024 at 10:30"
    assert shifted("31 Dec 1999", 1) == "1 Jan 2000"
    assert shifted("no date", 3) is None


def test_great_ages_become_one():
    assert ONE.fake("age", "97") == ONE.fake("age", "93") == "90"
    assert abs(int(ONE.fake("age", "41")) - 41) <= 3
