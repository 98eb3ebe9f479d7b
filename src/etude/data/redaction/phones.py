"""Telephone numbers: international ones, national ones in their usual dress, and digits that are called so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from etude.data.redaction.spans import Place, before

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

CANDIDATE = re.compile(
    r"(?<![\w./#$€£%@=-])(?<!\d[,:])(?:\+|00)?(?:\(\+?\d{1,4}\)|\d)(?:[ \t./-]{0,2}\(?\d+\)?){0,7}"
    r"(?:(?:;|,)? ?(?:x|ext\.?|extension|#) ?\d{1,5})?(?![\w]|[.,:/-]\d|[%€£])",
    re.IGNORECASE,
)
CUE = re.compile(
    r"\b(?:phones?|tele?phone|tel|call(?:ed|ing)?|dial|mobile|cell(?:ular|phone)?|fax|hot ?line|whatsapp"
    r"|signal|sms|texts?|text(?:ed|ing)"
    r"|ring|landline|handset|voice ?mail|reach(?:ed)?(?: \w+){0,2} (?:at|on)|answering(?: \w+)? (?:at|on)"
    r"|numbers?|messages? to|contact(?: \w+)? (?:at|on|number)"
    r"|registered|telefon\w*|t[ée]l[ée]phone|tel[ée]fono|m[óo]vil|celular|handy|portable|office|home"
    r"|work)\b[^\d\n]{0,24}$|☎|📞",
    re.IGNORECASE,
)
AFTER = re.compile(r"\s?[-(]? ?\(?(?:office|fax|home|mobile|cell|work|tel)\b", re.IGNORECASE)
NOT_A_PHONE = re.compile(
    r"\b(?:order|invoice|ticket|case|account|card|cc|ref(?:erence)?|tracking|serial|model|version|zip|code"
    r"|isbn|issn|id|ssn|sku|part|iban|room|page|year)"
    r"(?: (?:number|no|id))?\b[ .:#]{0,3}(?:is |was )?$",
    re.IGNORECASE,
)
NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}(?: ?(?:x|ext\.?) ?\d+)?", re.IGNORECASE
)
NATIONAL = re.compile(
    r"\(0\d{1,4}\)[ -]?[\d -]{5,12}|0\d{1,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,4}|\(\d{2,4}\) ?\d{3,4}[ -]\d{3,4}"
)
DATE_LIKE = re.compile(r"(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})(?: \d{1,2})?")
FEWEST, MOST = 7, 15
FEWEST_CALLED = 6


def phones(text: str) -> Iterator[Place]:
    """Phone numbers with their extension."""
    for match in CANDIDATE.finditer(text):
        found = match[0]
        number = re.split(r"(?:;|,)? ?(?:x|ext\.?|extension|#) ?", found, flags=re.IGNORECASE)[0]
        called = AFTER.match(text, match.end()) is not None
        if _is_phone(number, found, before(text, match.start()), called):
            yield match.span()


def _is_phone(number: str, found: str, lead: str, called: bool) -> bool:
    digits = re.sub(r"\D", "", number)
    if not FEWEST_CALLED <= len(digits) <= MOST or DATE_LIKE.fullmatch(number) or NOT_A_PHONE.search(lead):
        return False
    if number.startswith(("+", "00", "(+")):
        return is_possible(number)
    if NORTH_AMERICAN.fullmatch(found) or (len(digits) >= FEWEST + 1 and NATIONAL.fullmatch(number)):
        return True
    return (called or CUE.search(lead) is not None) and not re.fullmatch(r"(?:19|20)\d\d", digits)


def is_possible(number: str) -> bool:
    """Whether an international number's length suits its country."""
    from phonenumbers import is_possible_number

    parsed = _parsed(number)
    return parsed is not None and is_possible_number(parsed)


def is_valid(number: str) -> bool:
    """Whether a country could have given the number out; one without a country code is read as North American."""
    from phonenumbers import is_valid_number

    parsed = _parsed(number)
    return parsed is not None and is_valid_number(parsed)


def _parsed(number: str) -> PhoneNumber | None:
    from phonenumbers import NumberParseException, parse

    international = number.startswith(("+", "00", "(+"))
    plain = re.sub(r"\D", "", number.replace("(0)", "")).removeprefix("00")
    try:
        return parse(f"+{plain}" if international else number, None if international else "US")
    except NumberParseException:
        return None
