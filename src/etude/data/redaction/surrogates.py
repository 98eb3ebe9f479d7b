"""Fakes that look like what they stand for: the same value always gives the same fake, which only the key could tell.

A fake keeps its original's form (separators, case, length, country, brand) and its checksum, and is never equal to it.
Network addresses, domains and hardware addresses are taken from the ranges that are reserved for examples.
"""

from __future__ import annotations

import hmac
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random

from etude.data.redaction import accounts, addresses, national_ids
from etude.data.redaction.gazetteer import countries, first_names, is_word, last_names, places
from etude.data.redaction.names import PARTICLES, SUFFIXES, TITLES
from etude.data.redaction.shifted_dates import shifted

ATTEMPTS = 4000
WORD = re.compile(r"[^\W\d_]+")
MOST_DAYS = 365
YOUNGEST_HIDDEN = 90
"""From this age on ages say who someone is; they all become 90."""
KEPT_PREFIX = re.compile(r"(?:AKIA|ASIA|AROA|AIDA|AIza|eyJ|[A-Za-z]{2,6}[_-](?:(?:live|test|proj|pat)[_-])?)?")
COMPANY_WORDS = re.compile(
    r"(?:inc|llc|ltd|limited|gmbh|ag|sa|plc|corp|corporation|co|company|group|holdings|partners|llp|lp|bv"
    r"|nv|ab|oy|kg|university|college|bank"
    r"|hospital|clinic|institute|foundation|technologies|systems|solutions|labs|and|of|the|for|insurance"
    r"|trust|capital|associates)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Surrogates:
    """Fakes drawn by a secret key."""

    key: bytes

    def fake(self, kind: str, text: str) -> str:
        """What stands for a value of a kind; never the value itself."""
        maker = MAKERS[kind]
        for attempt in range(ATTEMPTS):
            made = maker(text, _Draw(self.key, kind, attempt))
            if made.casefold() != text.casefold():
                return made
        return f"[{kind.upper().replace('-', '_')}]"


@dataclass(frozen=True)
class _Draw:
    """Where the random choices for a value come from."""

    key: bytes
    kind: str
    attempt: int

    def dice(self, value: str, purpose: str = "") -> Random:
        """The same for the same key, value and purpose."""
        named = "\0".join((purpose or self.kind, value, str(self.attempt)))
        return Random(int.from_bytes(hmac.digest(self.key, named.encode("utf-8", "surrogatepass"), sha256)))


Maker = Callable[[str, _Draw], str]


@cache
def _pool(which: Callable[[], frozenset[str]]) -> tuple[str, ...]:
    """Plain names that are nothing else."""
    known = places() if which is not places else frozenset()
    return tuple(
        name for name in sorted(which())
        if name.isascii() and name.isalpha() and 4 <= len(name) <= 9 and not is_word(name) and name not in known
    )  # fmt: skip


def _word(word: str, draw: _Draw, pool: Callable[[], frozenset[str]]) -> str:
    """Another word of a pool in the same case; the choice depends on the word alone."""
    lower = word.casefold()
    names = _pool(pool)
    dice = draw.dice(lower, "word")
    made = dice.choice(names)
    while made == lower:
        made = dice.choice(names)
    return made.upper() if word.isupper() and len(word) > 1 else made if word.islower() else made.capitalize()


def _name_word(word: str, draw: _Draw) -> str:
    lower = word.casefold()
    if lower in PARTICLES | SUFFIXES | TITLES:
        return word
    if len(word) == 1:
        return draw.dice(lower, "initial").choice(
            [letter for letter in string.ascii_uppercase if letter != word.upper()]
        )
    return _word(word, draw, first_names if lower in first_names() else last_names)


def _name(text: str, draw: _Draw) -> str:
    return WORD.sub(lambda match: _name_word(match[0], draw), text)


def _email(text: str, draw: _Draw) -> str:
    local, at, domain = re.split(r"(@| ?(?:\(at\)|\[at\]|<at>| at ) ?)", text, maxsplit=1, flags=re.IGNORECASE)
    made = WORD.sub(lambda match: _name_word(match[0], draw), local)
    made = made if made.isascii() else _word(local, draw, last_names)
    numbered = re.sub(r"\d+", lambda match: _shaped(match[0], draw.dice(text.casefold())), made)
    return numbered + at + _domain(domain, draw)


def _domain(domain: str, draw: _Draw) -> str:
    """A name under .example, which nobody can own (RFC 2606)."""
    host = _word(domain, draw, last_names).lower()
    dot = re.search(r" ?(?:\(dot\)|\[dot\]|<dot>| dot ) ?", domain)
    return f"{host}{dot[0] if dot else '.'}example"


def _shaped(text: str, dice: Random) -> str:
    """Digits for digits, letters for letters; a first digit that is no zero stays none."""
    made = []
    for place, char in enumerate(text):
        if char.isdigit():
            inside = place and text[place - 1].isdigit()
            made.append(dice.choice("0123456789" if inside or char == "0" else "123456789"))
        elif char.isalpha():
            made.append(dice.choice(string.ascii_uppercase if char.isupper() else string.ascii_lowercase))
        else:
            made.append(char)
    return "".join(made)


def _number(text: str, draw: _Draw) -> str:
    return _shaped(text, draw.dice(text.casefold()))


def _digits_only(text: str, draw: _Draw) -> str:
    dice = draw.dice(text.casefold())
    return re.sub(r"\d", lambda _: dice.choice("0123456789"), text)


def _plain_digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _redigited(text: str, digits: str) -> str:
    """The text with other digits in its digits' places."""
    following = iter(digits)
    return re.sub(r"\d", lambda _: next(following), text)


def _card(text: str, draw: _Draw) -> str:
    """The brand's first two digits stay."""
    digits = _plain_digits(text)
    dice = draw.dice(digits)
    must_be = accounts.is_card if accounts.is_card(digits) else bool
    for _ in range(ATTEMPTS):
        made = digits[:2] + "".join(dice.choice(string.digits) for _ in digits[2:])
        if must_be(made) and made != digits:
            return _redigited(text, made)
    return text


def _iban(text: str, draw: _Draw) -> str:
    """Country, length and kinds of characters stay; the check digits are computed anew."""
    country, body = text[:2], text[4:]
    made = _shaped(body, draw.dice(re.sub(r"[ -]", "", text).upper()))
    plain = re.sub(r"[ -]", "", made).upper() + country.upper() + "00"
    check = 98 - int("".join(str(int(char, 36)) for char in plain)) % 97
    return f"{country}{check:02d}{made}"


def _national_id(text: str, draw: _Draw) -> str:
    kind = national_ids.which(text)
    dice = draw.dice(national_ids.letters_and_digits(text))
    for _ in range(ATTEMPTS if kind else 1):
        made = _shaped(text, dice)
        if kind is None or (
            kind.pattern.fullmatch(made)
            and (kind.is_valid is None or kind.is_valid(national_ids.letters_and_digits(made)))
        ):
            return made
    return text


def _phone(text: str, draw: _Draw) -> str:
    """Country and trunk prefix stay; a number that a country could have given out becomes such a number."""
    from etude.data.redaction.phones import is_valid

    digits = _plain_digits(text)
    prefix = re.match(r"\(?(?:\+|00)\(?\d{1,2}|0", text)
    kept = len(_plain_digits(prefix[0])) if prefix else 0
    dice = draw.dice(digits)
    must_be = is_valid if is_valid(text) else bool
    made = text
    for _ in range(ATTEMPTS // 20):
        rest = (dice.choice("23456789" if digit in "23456789" else string.digits) for digit in digits[kept:])
        made = _redigited(text, digits[:kept] + "".join(rest))
        if must_be(made) and made != text:
            break
    return made


def _ip(text: str, draw: _Draw) -> str:
    """Version 4: the benchmarking range 198.18.0.0/15 (RFC 2544); version 6: 2001:db8::/32 (RFC 3849)."""
    dice = draw.dice(text.casefold())
    if "." in text and ":" not in text:
        return f"198.{dice.choice((18, 19))}.{dice.randrange(256)}.{dice.randrange(1, 255)}"
    return "2001:db8:" + ":".join(f"{dice.randrange(1, 0x10000):x}" for _ in range(6))


def _mac(text: str, draw: _Draw) -> str:
    """A locally administered address, which no maker hands out."""
    dice = draw.dice(text.casefold())
    digits = "0123456789abcdef" if text.islower() or text.isdigit() else "0123456789ABCDEF"
    made = re.sub(r"[0-9A-Fa-f]", lambda _: dice.choice(digits), text)
    return "02" + made[2:]


def _url(text: str, draw: _Draw) -> str:
    match = re.match(r"(\w+://)?(?:[^/@\s]*@)?(www\.)?([^/:?#]+)(.*)", text, re.DOTALL | re.IGNORECASE)
    if match is None:
        return _number(text, draw)
    scheme, www, host, rest = match[1] or "", match[2] or "", match[3], match[4]
    return f"{scheme}{www}{_domain(host.casefold(), draw)}{_shaped(rest, draw.dice(text))}"


def _credentials(text: str, draw: _Draw) -> str:
    user, _, password = text.partition(":")
    return f"{_word(user, draw, last_names) if user else ''}:{_shaped(password, draw.dice(text))}"


def _secret(text: str, draw: _Draw) -> str:
    """What names the issuer stays, and so do the lines around a private key."""
    dice = draw.dice(text)
    if text.startswith("-----"):
        return "\n".join(line if line.startswith("-----") else _shaped(line, dice) for line in text.split("\n"))
    prefix = KEPT_PREFIX.match(text)
    kept = prefix.end() if prefix and prefix.end() < len(text) - 8 else 0
    return text[:kept] + _shaped(text[kept:], dice)


def _address(text: str, draw: _Draw) -> str:
    dice = draw.dice(text.casefold())
    kinds = addresses.SUFFIXES | addresses.LEADING | addresses.ENDING | addresses.UNITS | addresses.SMALL | countries()

    def other(match: re.Match[str]) -> str:
        word = match[0]
        if word.isdigit():
            return _shaped(word, dice)
        if word.casefold() in kinds or len(word) < 3:
            return word
        return _word(word, draw, places if word.casefold() in places() else last_names)

    return re.sub(r"\d+|[^\W\d_]+", other, text)


def _place(text: str, draw: _Draw) -> str:
    return _word(text, draw, places)


def _organisation(text: str, draw: _Draw) -> str:
    return WORD.sub(
        lambda match: match[0] if COMPANY_WORDS.match(match[0]) else _word(match[0], draw, last_names), text
    )


def _date(text: str, draw: _Draw) -> str:
    """All dates of a data set move by the same number of days, so that what lies between them stays."""
    dice = draw.dice("", "days")
    days = dice.choice((-1, 1)) * dice.randrange(7, MOST_DAYS)
    return shifted(text, days) or _digits_only(text, draw)


def _age(text: str, draw: _Draw) -> str:
    years = int(text)
    if years >= YOUNGEST_HIDDEN:
        return str(YOUNGEST_HIDDEN if years != YOUNGEST_HIDDEN else YOUNGEST_HIDDEN + 1)
    return str(max(1, years + draw.dice(text).choice((-3, -2, -1, 1, 2, 3))))


MAKERS: dict[str, Maker] = {
    "secret": _secret, "url-credentials": _credentials, "email": _email, "iban": _iban, "card": _card,
    "national-id": _national_id, "ip": _ip, "mac": _mac, "medical-record": _number, "case-number": _digits_only,
    "account-number": _number, "birth-date": _date, "phone": _phone, "url": _url, "date": _date, "age": _age,
    "address": _address, "organisation": _organisation, "name": _name, "place": _place,
}  # fmt: skip
"""One for each kind."""
