"""Check digits against python-stdnum, and numbers in text."""

from __future__ import annotations

import random
from importlib import import_module

import pytest

from etude.data.redaction.national_ids import IDS, letters_and_digits, national_ids

ORACLES = {
    "uk-nhs": "stdnum.gb.nhs", "es-dni": "stdnum.es.dni", "it-codice-fiscale": "stdnum.it.codicefiscale",
    "fr-nir": "stdnum.fr.nir", "de-steuer-id": "stdnum.de.idnr", "nl-bsn": "stdnum.nl.bsn",
    "pl-pesel": "stdnum.pl.pesel",
    "se-personnummer": "stdnum.se.personnummer", "fi-hetu": "stdnum.fi.hetu", "br-cpf": "stdnum.br.cpf",
    "in-aadhaar": "stdnum.in_.aadhaar", "ca-sin": "stdnum.ca.sin", "au-tfn": "stdnum.au.tfn",
    "us-ssn": "stdnum.us.ssn",
}  # fmt: skip
FORMS = {
    "uk-nhs": "##########", "es-dni": "########@", "fr-nir": "1850578006084##", "de-steuer-id": "###########",
    "nl-bsn": "#########", "pl-pesel": "440514#####", "se-personnummer": "880320-####", "fi-hetu": "131052-###*",
    "br-cpf": "###########", "in-aadhaar": "############", "ca-sin": "#########", "au-tfn": "#########",
    "us-ssn": "###-##-####",
}  # fmt: skip


def drawn(form, dice):
    letters = {"#": "0123456789", "@": "ABCDEFGHJKLMNPQRSTVWXYZ", "*": "0123456789ABCDEFHJKLMNPRSTUVWXY"}
    return "".join(dice.choice(letters[char]) if char in letters else char for char in form)


@pytest.mark.parametrize("kind", FORMS)
def test_check_digits_agree_with_a_library(kind):
    dice, oracle = random.Random(kind), import_module(ORACLES[kind])
    numbers = [drawn(FORMS[kind], dice) for _ in range(3000)]
    ours = [IDS[kind].is_valid(letters_and_digits(number)) for number in numbers]
    theirs = [oracle.is_valid(number) for number in numbers]
    different = [number for number, we, they in zip(numbers, ours, theirs, strict=True) if they and not we]
    assert not different, "a number that the library knows is not found"
    assert sum(theirs) > 5
    too_many = [number for number, we, they in zip(numbers, ours, theirs, strict=True) if we and not they]
    too_many = [number for number in too_many if not (kind == "us-ssn" and number[0] == "9")]
    assert len(too_many) <= sum(theirs) * 0.05 + 3, too_many[:5]


def test_a_known_codice_fiscale():
    assert IDS["it-codice-fiscale"].is_valid("RCCMNL83S18D969H")
    assert not IDS["it-codice-fiscale"].is_valid("RCCMNL83S18D967H")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("His SSN: 123-45-6789.", "123-45-6789"),
        ("social security number is 123 45 6789", "123 45 6789"),
        ("call 123456789 now", None),
        ("000-12-3456", None),
        ("NI number QQ123456C is made up, AB 12 34 56 C is not", "AB 12 34 56 C"),
        ("NHS number 943 476 5919", "943 476 5919"),
        ("943 476 5919 widgets", None),
        ("DNI 12345678Z", "12345678Z"),
        ("DNI 12345678A", None),
        ("My driver's license number is F162823540116", "F162823540116"),
        ("passport no. L01X00T47", "L01X00T47"),
        ("My passport is blue", None),
        ("CPF 111.444.777-35", "111.444.777-35"),
        ("CPF 111.444.777-36", None),
    ],
)
def test_in_a_sentence(text, number):
    assert [text[start:stop] for start, stop in national_ids(text)] == ([number] if number else [])
