"""E-mail addresses, URLs, network addresses, payment cards and bank accounts: forms with rules of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from etude.data.redaction.spans import Place, before, matches

EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{0,63}[\w+-]@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,24}(?![\w@])"
    r"|(?<![\w.+-])[\w.+-]{1,64}"
    r" ?(?:\(at\)|\[at\]|<at>| at ) ?[\w-]+(?: ?(?:\(dot\)|\[dot\]|<dot>| dot ) ?[a-z]{2,12})+\b",
    re.IGNORECASE,
)
IN_URL = re.compile(r"://[^\s@]*$")
URL = re.compile(
    r"\b(?:https?|ftp|wss?|ssh|postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp)://[^\s<>\"'`\\{}|^]+", re.I
)
BARE_URL = re.compile(r"(?<![\w@./-])www\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>\"'`]*)?", re.I)
CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]*://(?P<pair>[^\s/:@]*:[^\s/@]+)@[\w\[]", re.IGNORECASE)
OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IPV4 = re.compile(rf"(?<![\w.]){OCTET}(?:\.{OCTET}){{3}}(?![\w]|\.\d)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])", re.IGNORECASE
)
VERSION = re.compile(r"(?:\b(?:version|release|build|section|chapter|clause|v)\.?|§) ?$", re.IGNORECASE)
SHORT_IPV6 = re.compile(r"(?:[23][0-9a-f]{3}|f[cd][0-9a-f]{2}|fe80):|::1$|::ffff:", re.IGNORECASE)
MAC = re.compile(
    r"(?<![\w:-])(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])"
    r"|(?<![\w.])[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}(?![\w.])",
    re.IGNORECASE,
)
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w]|[.-]\d)")
CARD_CUE = re.compile(
    r"\b(?:card|cc|visa|master ?card|amex|american express|maestro|discover|pan)\b[^\d]*$", re.IGNORECASE
)
BRANDS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|[68])"), (14, 16, 19)),
    (re.compile(r"6(?:011|4[4-9]|5|2)"), (16, 17, 18, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile(r"1800|2131"), (15,)),
    (re.compile(r"5[06-9]|6"), (12, 13, 14, 15, 16, 17, 18, 19)),
)
"""First digits and lengths: Visa, Mastercard, American Express, Diners, Discover and UnionPay, JCB (twice), Maestro."""
IBAN = re.compile(r"(?<![A-Z0-9])([A-Z]{2})(\d{2})((?:[ -]?[A-Z0-9]){10,31})", re.IGNORECASE)
IBAN_CUE = re.compile(r"\biban\b[^\n]{0,20}$", re.IGNORECASE)
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip


def emails(text: str) -> Iterator[Place]:
    """E-mail addresses, `ann (at) example (dot) com` included; `user:password@host` of a URL is none."""
    for match in EMAIL.finditer(text):
        if not IN_URL.search(before(text, match.start())):
            yield match.span()


def urls(text: str) -> Iterator[Place]:
    """Web and other addresses, without the punctuation that ends a sentence."""
    for pattern in (URL, BARE_URL):
        for match in pattern.finditer(text):
            yield match.start(), match.start() + len(match[0].rstrip(".,;:!?)]"))


def url_credentials(text: str) -> Iterator[Place]:
    """`user:password` inside an address."""
    return matches(CREDENTIALS, text, "pair") if "://" in text else iter(())


def ip_addresses(text: str) -> Iterator[Place]:
    """Addresses of version 4 and 6; what a word before calls a version or a section is none."""
    for match in IPV4.finditer(text):
        if not VERSION.search(before(text, match.start(), 10)):
            yield match.span()
    for match in IPV6.finditer(text):
        if is_ipv6(match[0]):
            yield match.span()


def is_ipv6(text: str) -> bool:
    """A valid address of version 6 that is not `a::b` of a program."""
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return any(char.isdigit() for char in text) and (text.count(":") >= 4 or SHORT_IPV6.match(text) is not None)


def mac_addresses(text: str) -> Iterator[Place]:
    """Hardware addresses with colons, hyphens, or Cisco's dots."""
    return matches(MAC, text)


def cards(text: str) -> Iterator[Place]:
    """Payment cards: a brand's first digits and length with a valid checksum, or any number that is called a card."""
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if is_card(digits) or CARD_CUE.search(before(text, match.start(), 32)):
            yield match.span()


def is_card(digits: str) -> bool:
    """A brand's prefix and length, and Luhn's checksum."""
    return luhn(digits) and any(prefix.match(digits) and len(digits) in sizes for prefix, sizes in BRANDS)


def luhn(digits: str) -> bool:
    """Luhn's checksum, https://en.wikipedia.org/wiki/Luhn_algorithm."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def ibans(text: str) -> Iterator[Place]:
    """Bank accounts of a country's length with a valid checksum, or of that length where the text says IBAN."""
    for match in IBAN.finditer(text):
        length = IBAN_LENGTHS.get(match[1].upper())
        stop = length and _end_of(match[0], length)
        if not stop or text[match.start() + stop : match.start() + stop + 1].isalnum():
            continue
        if is_iban(match[0][:stop]) or IBAN_CUE.search(before(text, match.start(), 24)):
            yield match.start(), match.start() + stop


def is_iban(text: str) -> bool:
    """A country's length and a remainder of 1 by 97 (ISO 13616)."""
    plain = re.sub(r"[ -]", "", text).upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]+", plain) or len(plain) != IBAN_LENGTHS.get(plain[:2]):
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _end_of(text: str, length: int) -> int | None:
    """Where the first `length` letters and digits end."""
    taken = 0
    for place, char in enumerate(text, start=1):
        taken += char.isalnum()
        if taken == length:
            return place
    return None
