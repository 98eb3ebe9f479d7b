"""Places and organisations, as far as lists and the words around them can tell; a model does it better (`--ner`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.data.redaction.gazetteer import countries, first_names, is_word, last_names, places
from etude.data.redaction.spans import Place, before

CAPITAL = r"(?:(?:[A-Z]\.){2,}|[^\W\d_a-zß-öø-ÿ][\w'’-]*)"
RUN = re.compile(rf"{CAPITAL}(?:[ -](?:(?:de|del|of|the|la|da|do|am|an der|upon|sur|and|&) )?{CAPITAL})*")
IN = re.compile(
    r"\b(?:in|from|to|near|visit(?:ed|ing)?|at|of|via|across|outside|toward|leaving|left|around"
    r"|city(?: of)?|town of|village of|where:|location:|city:|country:|state:"
    r"|move[ds]? (?:here )?from)(?: the)? +$",
    re.IGNORECASE,
)
HERE = re.compile(
    r"\b(?:here from|lived? in|grew up in|visit(?:ed|ing)?|flew to|born in|arrived at|moved to|(?:I['’]?m"
    r"|am|is|are|was|were|we['’]?re|based|living)(?: now| currently)? in"
    r"|home ?town(?: of)?|city|where:|location:|city:|country:|tribute (?:here )?to)(?: the)? +$",
    re.IGNORECASE,
)
DIRECTIONS = (
    "north",
    "south",
    "east",
    "west",
    "new",
    "saint",
    "st",
    "san",
    "los",
    "las",
    "el",
    "greater",
    "upper",
    "lower",
)
AFTER_PLACE = re.compile(
    r"^,? (?:[A-Z]{2}\b|was (?:super )?fun|bridge|leader|government|airport|city|county|province|district)"
)
COMPANY = re.compile(
    rf"(?:{CAPITAL} (?:(?:and|&) )?){{0,4}}{CAPITAL},? (?:Inc|LLC|L\.L\.C|Ltd|Limited|GmbH|AG|SA|S\.A|SAS"
    rf"|SARL|PLC|plc|Corp|Corporation|Co|Company|Group|Holdings|Partners"
    r"|LLP|LP|BV|B\.V|NV|N\.V|AB|ASA|A/S|ApS|Oy|Oyj|Sp\. z o\.o|S\.p\.A|SpA|S\.r\.l|Srl|KG|KK|Pty"
    r"|Technologies|Systems|Solutions|Bank|Insurance|Industries|Labs|Laboratories|Ventures"
    r"|Associates|Consulting|Foundation|Institute|University|College|Hospital|Clinic|Orchestra|Trust"
    r"|Capital|Enterprises|Pharmaceuticals|Analytics|Networks|Media|Airlines|Motors|Energy)\b\.?"
)
NAMED_AFTER = re.compile(
    rf"\b(?:University|College|Bank|Ministry|Department|Court|Institute|Hospital|School|Bureau|Church"
    rf"|Museum) of (?:the )?{CAPITAL}(?:[ -]{CAPITAL})*"
)
EMPLOYER = re.compile(
    r"\b(?:works? (?:for|at)|worked (?:for|at)|working (?:for|at)|employed (?:by|at)|job (?:at|with)"
    r"|CEO of|founder of|employee of|customer of|invest(?:ed|or) in|acquired by|hired by"
    r"|joined|on behalf of|subsidiary of|president of|chairman of|recorded for|a year at|by the"
    r"|company(?: called)?|account (?:at|with)|company:|employer:)(?: the)? $",
    re.IGNORECASE,
)
FOLLOWED = re.compile(
    r"^(?:['’]s?)? (?:is the brainchild|announced|invested|shares|stock|employees?|acquired|Inc"
    r"|reported (?:a )?(?:profit|loss|revenue)|songwriter|(?:has )?(?:hired|laid off))"
)
LONGEST_LIST_NAME = 4


def found_places(text: str) -> Iterator[Place]:
    """Countries, states, cities, and unknown capitalised words where a place stands ("moved here from …")."""
    for match in RUN.finditer(text):
        name = match[0].rstrip(".'’-")
        lead, tail = before(text, match.start(), 24), text[match.start() + len(name) : match.end() + 24]
        if _is_place(name, lead, tail):
            yield match.start(), match.start() + len(name)
        else:
            yield from _inside(match.start(), name)


def _is_place(name: str, lead: str, tail: str) -> bool:
    lower = name.lower()
    if lower in countries():
        return True
    is_told = IN.search(lead) is not None or AFTER_PLACE.match(tail) is not None
    if lower in places():
        return is_told or not (lower in first_names() or lower in last_names() or all(map(is_word, lower.split())))
    words = re.split(r"[ -]", lower)
    known = all(word in places() or word in DIRECTIONS for word in words) and not all(map(is_word, words))
    unknown = not any(is_word(word) or word in first_names() or word in last_names() for word in words)
    return (known and is_told) or (unknown and HERE.search(lead) is not None)


def _inside(start: int, name: str) -> Iterator[Place]:
    """Known places inside a longer run of capitalised words ("Lisbon Office")."""
    words = [match.span() for match in re.finditer(r"[^\s-]+", name)]
    at = 0
    while at < len(words):
        for size in range(min(LONGEST_LIST_NAME, len(words) - at), 0, -1):
            begin, stop = words[at][0], words[at + size - 1][1]
            if size < len(words) and _is_place(name[begin:stop], "", ""):
                yield start + begin, start + stop
                at += size - 1
                break
        at += 1


def organisations(text: str) -> Iterator[Place]:
    """Names with a legal form or a telling last word, and capitalised words where an employer stands."""
    for pattern in (COMPANY, NAMED_AFTER):
        for match in pattern.finditer(text):
            yield match.span()
    for match in re.finditer(rf"{CAPITAL}(?:,? (?:and |& |of )?{CAPITAL})*", text):
        name = match[0].rstrip(".'’-,")
        name = re.sub(r"['’]s$", "", name)
        lead, tail = before(text, match.start(), 32), text[match.start() + len(name) : match.start() + len(name) + 32]
        if EMPLOYER.search(lead) or FOLLOWED.match(tail):
            yield match.start(), match.start() + len(name)
