"""Postal addresses, in the orders in which the world writes them.

A run of numbers, capitalised words and the small words of addresses is an address if enough of it can be nothing else:
a flat, a kind of street, a post code after a town, a word like "address" before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from etude.data.redaction.gazetteer import is_word, listed, places
from etude.data.redaction.spans import Place, before

SUFFIXES = listed(
    "street st avenue ave road rd boulevard blvd lane ln drive dr court ct circle cir place pl square sq "
    "terrace terrasse ter way parkway pkwy highway hwy alley close crescent cres grove gardens row mews "
    "hill walk wharf quay esplanade parade loop trail trl turnpike plaza path pike rise crossing "
    "crossroad crossroads freeway expressway bypass causeway junction"
)
STRAY_SUFFIXES = listed(
    "st dr ct pl sq ter cir way row hill walk place close court path loop rise square lane drive circle"
)
"""Suffixes that are also other words, and count only after a number and a capitalised word."""
LEADING = listed(
    "rue avenue boulevard chemin quai impasse allée allee route via viale vicolo piazza corso largo "
    "strada contrada calle avenida avda av paseo carretera c/ rua rúa travessa praça praca rodovia "
    "alameda estrada ul ulica aleja al os ulitsa jalan jl calea str bulevardul cité quadra λεωφόρος λ"
)
"""Kinds of street that stand before its name."""
JOINED = re.compile(
    r".{2,}(?:stra(?:ss|ß)e|gasse|weg|platz|allee|damm|ufer|gatan|v[äa]gen|gr[äa]nd|gade|vej|all[ée]|gata"
    r"|veien|vegen|plass|bakken"
    r"|katu|tie|kuja|polku|rinne|t[äa]nav|straat|laan|plein|kade|dreef|steeg|brücke|gaarde|gården|toft"
    r"|parken|stræde|stien|vangen"
    r"|vegur|braut|stræti|stígur|holt|teigur|alej|cesta|tvrđava|útja|utcája|rkp|krogen)$"
)
"""Kinds of street that end its name, in one word."""
ENDING = listed(
    "utca út tér u útja köz körút ulice náměstí trg cesta ulica str katu tie vej gade gata street tänav mnt pst"
)
"""Kinds of street behind its name, in a word of their own, that other languages than English use."""
UNITS = listed(
    "apt apartment suite ste unit room rm floor fl flat building bldg block lot level office box pobox "
    "door psc cmr postbox postfach"
) | {"p.o. box", "p. o. box"}
OPENING = frozenset(
    {
        "pobox",
        "p.o. box",
        "p. o. box",
        "psc",
        "cmr",
        "unit",
        "postbox",
        "postfach",
        "usns",
        "uss",
        "usnv",
        "usnz",
        "uscgc",
    }
)
SMALL = listed(
    "de du des la le les el los las do da dos das dei degli delle di del della auf unter van von der den "
    "het of the y e und i na pod sur am zum zur an in op nan"
)
POST_CODE = re.compile(r"\d{4,6}(?:-\d{3,4})?|\d{3}-\d{2,3}|[A-Z]{1,2}\d[A-Z\d]?|\d[A-Z]{2}")
YEAR = re.compile(r"(?:1[89]|20)\d\d")
CORNER = re.compile(
    r"\b(?:the )?corner of (?:[^\W_][\w'’-]*\.? ){1,5}?and (?:[^\W_][\w'’-]*\.? ?\b){1,4}(?<! )", re.IGNORECASE
)
TOKEN = re.compile(
    r"(?:# ?)?\d[A-Z]{2}\b|(?:# ?)?\d{1,6}[a-zA-Z]?(?:[/-]\d{1,5}[A-Za-z]?)?(?:st|nd|rd|th)?\b|[cC]/"
    r"|P\. ?O\. Box|[^\W\d_](?:[\w'’-]|(?<=P)\.(?=O))*"
)
GAP = re.compile(r"(?:\.?,?|\.? ?\()[ \t>]*,?(?:\r?\n[ \t>]*,?[ \t]*)?\(?")
CUE = re.compile(
    r"(?:\baddress(?:es)?\b[^.!\n]{0,40}|\b(?:live[sd]?|living|resid(?:e[sd]?|ing)|located|moved"
    r"|meet (?:me|you|us|him|her|them)|arrived|sent|send|ship(?:ped)?|deliver(?:ed)?"
    r"|return(?:ed)?|drops? you off|offices? (?:are|is)|restaurant is|store is"
    r"|it['’]?s)(?: \w+){0,4}? (?:at|in|on|to)|(?:validate|sent) [^.!?\n]{0,30}[?:] ?(?:user:)?)"
    r"[\s:,\"'(>-]{1,8}$",
    re.IGNORECASE,
)
STOP = listed(
    "and or but please thanks thank regards hi hello phone tel fax email name dear sincerely i i'm my we "
    "it is was for user bot where when what how can could you he she they his her this that there from "
    "with mobile cell dob date ssn mr mrs ms dr's in case last after street's"
)
ENOUGH = 3
LONGEST = 24
LONGEST_ABBREVIATION = 4


class Token(NamedTuple):
    """A number or word of an address."""

    text: str
    start: int
    stop: int

    @property
    def lower(self) -> str:
        return self.text.lower().strip(".# ")

    @property
    def is_number(self) -> bool:
        return any(char.isdigit() for char in self.text)

    @property
    def is_capital(self) -> bool:
        return self.text[0].isupper()


def addresses(text: str) -> Iterator[Place]:
    """Addresses with everything that belongs to them: flat, town, state, post code, country."""
    if not any(char.isdigit() for char in text):
        return
    shown = text.title() if text.islower() and len(text.title()) == len(text) else text
    for run in _runs(shown):
        for piece in _addresses_in(run, shown, needed=ENOUGH + (shown is not text)):
            yield piece[0].start, piece[-1].stop
    for match in CORNER.finditer(shown):
        if sum(word[0].isupper() for word in match[0].split()) > 1:
            yield match.span()


def _runs(text: str) -> Iterator[list[Token]]:
    """Numbers, capitalised words and small words with nothing but commas and line breaks between them."""
    run: list[Token] = []
    for match in TOKEN.finditer(text):
        token = Token(match[0], *match.span())
        is_part = token.is_number or token.is_capital or token.lower in SMALL | LEADING | ENDING | SUFFIXES | UNITS
        is_part = is_part and token.lower not in STOP
        if run and not (is_part and _goes_on(run[-1], text[run[-1].stop : token.start])):
            yield run
            run = []
        if is_part:
            run.append(token)
    if run:
        yield run


def _goes_on(last: Token, gap: str) -> bool:
    """Whether nothing but commas, a line break, or the full stop of an abbreviation stands between two parts."""
    is_short = last.is_number or len(last.text) <= LONGEST_ABBREVIATION or last.lower in ENDING
    return GAP.fullmatch(gap) is not None and (is_short or not gap.startswith("."))


def _addresses_in(run: list[Token], text: str, needed: int) -> Iterator[list[Token]]:
    """The first address of a run, and those behind it where the run is too long to be one."""
    at = 0
    while at < len(run):
        first = next((place for place in range(at, len(run)) if _opens(run[place : place + LONGEST], 0)), None)
        if first is None:
            return
        piece = _one_address(run[first : first + LONGEST], text)
        if len(piece) < 2 or not any(token.is_number for token in piece) or evidence(piece, text) < needed:
            return
        yield piece
        if first + LONGEST >= len(run):
            return
        at = first + len(piece)


def _one_address(piece: list[Token], text: str) -> list[Token]:
    """Without small words and labels at its end."""
    while piece and (piece[-1].lower in SMALL - {"nan"} or text.startswith(":", piece[-1].stop)):
        piece = piece[:-1]
    return _one_line(piece, text)


def _opens(run: list[Token], at: int) -> bool:
    """Whether an address can begin here: at a number, a kind of street, or a name before one."""
    token = run[at]
    if token.is_number or token.lower in LEADING or token.lower in OPENING:
        return True
    return (token.is_capital and JOINED.match(token.lower) is not None) or _names_a_house(run[at:])


def _names_a_house(rest: list[Token]) -> bool:
    """`Victor Hugo utca 12`: capitalised words, a kind of street, a number."""
    for place, token in enumerate(rest[:4]):
        if token.lower in ENDING and place > 0 and len(rest) > place + 1 and rest[place + 1].is_number:
            return not is_word(rest[0].lower)
        if not token.is_capital:
            return False
    return False


def _one_line(piece: list[Token], text: str) -> list[Token]:
    """Without a last line that has neither a place nor a number: that is the next sentence or field."""
    for at in range(len(piece) - 1, 0, -1):
        if "\n" in text[piece[at - 1].stop : piece[at].start]:
            last = piece[at:]
            lower = " ".join(token.lower for token in last)
            plain = len(last) > 3 or all(is_word(token.lower) for token in last)
            if plain and lower not in places() and not any(token.is_number for token in last):
                return _one_line(piece[:at], text)
            break
    return piece


def evidence(piece: list[Token], text: str) -> int:
    """How much speaks for an address; `ENOUGH` is enough."""
    lowers = [token.lower for token in piece]
    points = 2 * any(a.lower in UNITS and b.is_number for a, b in pairwise(piece))
    points += 2 * _has_street(piece)
    points += (
        piece[0].is_number and piece[0].text not in ("1", "2") and piece[1].is_capital and not is_word(piece[1].lower)
    )
    points += _is_numbered_street(piece)
    points += 2 * (CUE.search(before(text, piece[0].start, 80)) is not None)
    points += _has_place(lowers)
    points += any(POST_CODE.fullmatch(token.text) and not YEAR.fullmatch(token.text) for token in piece[2:])
    points += any("\n" in text[a.stop : b.start] for a, b in pairwise(piece))
    return points + (_is_named(piece[0]) and any(token.is_number for token in piece[1:5]))


def _is_numbered_street(piece: list[Token]) -> bool:
    """`12 Main Street`, whatever the words mean by themselves."""
    for at, token in enumerate(piece[1:6], start=1):
        if token.lower in SUFFIXES - STRAY_SUFFIXES:
            return at > 1 and piece[0].is_number and token.is_capital
        if not token.is_capital:
            return False
    return False


def _is_named(token: Token) -> bool:
    """A kind of street, alone or as a word's end."""
    return token.lower in LEADING or JOINED.match(token.lower) is not None


def _has_street(piece: list[Token]) -> bool:
    for at, token in enumerate(piece):
        numbers = [other.is_number for other in piece[max(0, at - 5) : at + 5]]
        if not any(numbers):
            continue
        after_name = at > 0 and piece[at - 1].is_capital and not piece[at - 1].is_number
        if (
            token.lower in SUFFIXES
            and after_name
            and (token.lower not in STRAY_SUFFIXES or any(other.is_number for other in piece[:at]))
        ):
            return True
        if token.lower in LEADING and at + 1 < len(piece) and not piece[at + 1].is_number:
            return True
        if (token.lower in ENDING and after_name) or (JOINED.match(token.lower) and not is_word(token.lower)):
            return True
    return False


def _has_place(lowers: list[str]) -> bool:
    known = places()
    return any(
        " ".join(lowers[at : at + size]) in known for size in (1, 2, 3) for at in range(1, len(lowers) + 1 - size)
    )
