"""National identity, tax and health numbers: each country's form, its check digits, and the words for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from etude.data.redaction.accounts import luhn
from etude.data.redaction.spans import Place, before

CUE_WIDTH = 60


@dataclass(frozen=True)
class NationalId:
    """One kind of number."""

    pattern: re.Pattern[str]
    """Its form, separators included."""
    cue: re.Pattern[str]
    """What people write before it."""
    is_valid: Callable[[str], bool] | None = None
    """Its check, given letters and digits alone in upper case; None where there is none."""
    needs_cue: bool = True
    """Whether the form alone is too common to be one."""


def national_ids(text: str) -> Iterator[Place]:
    """Numbers of all countries in the table, and licence, passport and identity card numbers that are called so."""
    for kind in IDS.values():
        for match in kind.pattern.finditer(text):
            plain = letters_and_digits(match[0])
            valid = kind.is_valid is None or kind.is_valid(plain)
            if valid and (not kind.needs_cue or kind.cue.search(before(text, match.start(), CUE_WIDTH))):
                yield match.span()
    for match in DOCUMENT.finditer(text):
        if any(char.isdigit() for char in match["value"]):
            yield match.span("value")


def which(text: str) -> NationalId | None:
    """The kind of number that a text is, if its form and check say so."""
    plain = letters_and_digits(text)
    for kind in IDS.values():
        if kind.pattern.fullmatch(text) and (kind.is_valid is None or kind.is_valid(plain)):
            return kind
    return None


def letters_and_digits(text: str) -> str:
    """A number without its separators."""
    return re.sub(r"[^0-9A-Za-z]", "", text).upper()


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _us_ssn(digits: str) -> bool:
    """Numbers that begin with 9 are taxpayers' (ITIN) and count."""
    return digits[:3] not in ("000", "666") and digits[3:5] != "00" and digits[5:] != "0000"


def _uk_nino(text: str) -> bool:
    return text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def _uk_nhs(digits: str) -> bool:
    check = 11 - _weighted(digits[:9], range(10, 1, -1)) % 11
    return check % 11 == int(digits[9]) and check != 10


def _es_dni(text: str) -> bool:
    number = {"X": "0", "Y": "1", "Z": "2"}.get(text[0], text[0]) + text[1:8]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[8]


def _it_codice_fiscale(text: str) -> bool:
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    numbers = [int(char) if char.isdigit() else ord(char) - ord("A") for char in text[:15]]
    total = sum(number if place % 2 else odd[number] for place, number in enumerate(numbers))
    return chr(ord("A") + total % 26) == text[15]


def _fr_nir(text: str) -> bool:
    body = text[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(text[13:])


def _de_steuer_id(digits: str) -> bool:
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    repeated = [count for count in (digits[:10].count(digit) for digit in "0123456789") if count > 1]
    one_repeats = len(repeated) == 1 and repeated[0] <= 3
    return (11 - product) % 10 == int(digits[10]) and digits[0] != "0" and one_repeats


def _nl_bsn(digits: str) -> bool:
    return int(digits) > 0 and (_weighted(digits[:8], range(9, 1, -1)) - int(digits[8])) % 11 == 0


def _pl_pesel(digits: str) -> bool:
    month_in_century = int(digits[2:4]) % 20
    is_dated = 1 <= month_in_century <= 12 and 1 <= int(digits[4:6]) <= 31
    return is_dated and -_weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10 == int(digits[10])


def _se_personnummer(digits: str) -> bool:
    short = digits[-10:]
    return 1 <= int(short[2:4]) <= 12 and 1 <= int(short[4:6]) % 60 <= 31 and luhn(short)


def _fi_hetu(text: str) -> bool:
    number = int(text[:6] + text[-4:-1])
    return 1 <= int(text[2:4]) <= 12 and "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == text[-1]


def _br_cpf(digits: str) -> bool:
    checks = (-_weighted(digits[:9], range(10, 1, -1)) % 11 % 10, -_weighted(digits[:10], range(11, 1, -1)) % 11 % 10)
    return len(set(digits)) > 1 and digits[9:] == f"{checks[0]}{checks[1]}"


def _in_aadhaar(digits: str) -> bool:
    """Verhoeff's checksum, https://en.wikipedia.org/wiki/Verhoeff_algorithm."""
    check = 0
    for place, char in enumerate(reversed(digits)):
        check = DIHEDRAL[check][int(PERMUTED[place % 8][int(char)])]
    return check == 0 and digits[0] > "1"


def _ca_sin(digits: str) -> bool:
    return digits[0] not in "08" and luhn(digits)


def _au_tfn(digits: str) -> bool:
    return _weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _au_medicare(digits: str) -> bool:
    return digits[0] in "23456" and _weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


PERMUTED = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
DIHEDRAL = tuple(
    tuple(
        (row + column) % 5 if row < 5 and column < 5
        else 5 + (row + column) % 5 if row < 5
        else 5 + (row - column) % 5 if column < 5
        else (row - column) % 5
        for column in range(10)
    )
    for row in range(10)
)  # fmt: skip
DOCUMENT = re.compile(
    r"\b(?:driv(?:er|ing)(?:['’]?s|s['’])? ?licen[sc]e|licen[sc]e|passport|id(?:entity)? card"
    r"|identification|national id|tax(?:payer)? id|tin|visa)"
    r"(?: ?(?:number|no|num|nr|id|#)\b\.?)?(?: ?[:=#]| is| was"
    r"|,)* ?(?P<value>[A-Z]{0,3}-?\d[A-Z0-9]*(?:[- ]?\d[A-Z0-9]*)*[A-Z]?|[A-Z]{1,5}\d[\dA-Z]{4,})(?![\w])",
    re.IGNORECASE,
)


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-])(?:{pattern})(?![\w]|[.-]\d)", re.IGNORECASE)


def _cue(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b", re.IGNORECASE)


IDS: dict[str, NationalId] = {
    "us-ssn": NationalId(
        _form(r"\d{3}-\d{2}-\d{4}"), _cue(r"ssn|social(?: security)?"), _us_ssn, needs_cue=False
    ),
    "us-ssn-plain": NationalId(_form(r"\d{3} ?\d{2} ?\d{4}"), _cue(r"ssn|social(?: security)?|itin"), _us_ssn),
    "uk-nino": NationalId(
        _form(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
        _cue(r"nino|national insurance|ni"), _uk_nino, needs_cue=False,
    ),
    "uk-nhs": NationalId(_form(r"\d{3}[ -]?\d{3}[ -]?\d{4}"), _cue(r"nhs"), _uk_nhs),
    "es-dni": NationalId(
        _form(r"[XYZ]?-?\d{7,8}[ -]?[A-Z]"), _cue(r"dni|nie|nif"),
        lambda text: len(text) == 9 and _es_dni(text), needs_cue=False,
    ),
    "it-codice-fiscale": NationalId(
        _form(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"), _cue(r"codice fiscale|cf"),
        _it_codice_fiscale, needs_cue=False,
    ),
    "fr-nir": NationalId(
        _form(r"[1278] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
        _cue(r"nir|insee|s[ée]curit[ée] sociale"), _fr_nir, needs_cue=False,
    ),
    "de-steuer-id": NationalId(
        _form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"), _cue(r"steuer\W?id\w*|idnr|steuernummer|tax id\w*"), _de_steuer_id
    ),
    "nl-bsn": NationalId(_form(r"\d{9}|\d{4}[. ]\d{2}[. ]\d{3}"), _cue(r"bsn|burgerservicenummer"), _nl_bsn),
    "pl-pesel": NationalId(_form(r"\d{11}"), _cue(r"pesel"), _pl_pesel),
    "se-personnummer": NationalId(
        _form(r"(?:\d{2})?\d{6}[-+]\d{4}"), _cue(r"personnummer|personal number"), _se_personnummer, needs_cue=False
    ),
    "fi-hetu": NationalId(
        _form(r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]"), _cue(r"henkil[öo]tunnus|hetu"), _fi_hetu, needs_cue=False
    ),
    "br-cpf": NationalId(_form(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), _cue(r"cpf"), _br_cpf, needs_cue=False),
    "br-cpf-plain": NationalId(_form(r"\d{11}"), _cue(r"cpf"), _br_cpf),
    "in-aadhaar": NationalId(_form(r"\d{4}[ -]?\d{4}[ -]?\d{4}"), _cue(r"aadhaar|aadhar|uid"), _in_aadhaar),
    "in-pan": NationalId(_form(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"), _cue(r"pan")),
    "ca-sin": NationalId(_form(r"\d{3}[ -]?\d{3}[ -]?\d{3}"), _cue(r"sin|social insurance"), _ca_sin),
    "au-tfn": NationalId(_form(r"\d{3} ?\d{3} ?\d{3}"), _cue(r"tfn|tax file"), _au_tfn),
    "au-medicare": NationalId(_form(r"\d{4} ?\d{5} ?\d"), _cue(r"medicare"), _au_medicare),
}  # fmt: skip
"""By name; a plain number of nine or eleven digits is only one where the words before say so."""
