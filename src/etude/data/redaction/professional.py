"""Numbers of a profession: medical records and insurance, court cases, accounts, licence plates, devices."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.data.redaction.spans import Place, matches

NUMBER = r"(?P<value>(?=[\w/.-]*\d)[A-Z0-9][A-Z0-9]*(?:[-/.][A-Z0-9]+)*)"
NAMED = r"(?: ?(?:number|numbers|no|num|nr|id|#)\b\.?)?(?: ?[:=#]| is| was)* ?"
MEDICAL = re.compile(
    r"\b(?:mrn|medical record|patient (?:id|number|no)|chart|encounter|accession|specimen|admission"
    r"|hospital (?:number|no|id)|health plan|member|beneficiary"
    r"|policy|insurance|group|prescription|rx|npi|dea|device|implant|serial|lot|udi)" + NAMED + NUMBER,
    re.IGNORECASE,
)
NEUTRAL = re.compile(r"\b(?:group|device|lot|serial|chart|policy|insurance|member|admission)$", re.IGNORECASE)
DOCKET = re.compile(
    r"(?<![\w-])(?:\d{1,2}:\d{2}-[a-z]{2}-\d{3,6}(?:-[A-Z]{1,4}){0,3}|\d{1,4}-(?:cv|cr|md|mc|bk|ap)-\d{2,6}"
    r"|\[\d{4}\] (?:EWCA|EWHC|UKSC|UKHL|UKUT|UKPC) (?:Civ |Crim )?\d+(?: \([A-Z][a-z]+\))?|[CTF]-\d{1,4}/\d{2})(?!\w)",
    re.IGNORECASE,
)
"""As the courts of the United States, the United Kingdom and the European Union write them."""
CASE = re.compile(
    r"\b(?:case|docket|cause|matter|claim|file|index|filing|application|appeal|petition|indictment|bar|aktenzeichen|az)"
    r"(?: (?:number|no|nr|id)\b\.?| ?#|\.)(?: ?[:=#]| is| was)* ?" + NUMBER,
    re.IGNORECASE,
)
ACCOUNT = re.compile(
    r"\b(?:account|acct|routing|sort code|customer|client|order|invoice|booking|reservation|confirmation"
    r"|tracking|loyalty|employee|student|reference|ticket|swift|bic|vin|license plate|licence plate|plate)"
    r"(?:(?: (?:number|no|nr|id|code)\b\.?| ?#|\.)(?: ?[:=#]| is| was)* ?|(?: ?[:=#]| is| was)+ ?)" + NUMBER,
    re.IGNORECASE,
)
FEWEST_DIGITS = 3


def medical_records(text: str) -> Iterator[Place]:
    """Record, plan, prescription and device numbers that are called so."""
    for match in MEDICAL.finditer(text):
        lead = text[match.start() : match.start("value")]
        is_bare = NEUTRAL.fullmatch(lead.strip()) is not None
        if not is_bare and _digits(match["value"]) >= FEWEST_DIGITS:
            yield match.span("value")


def case_numbers(text: str) -> Iterator[Place]:
    """Dockets by their form, and case, claim and file numbers that are called so."""
    yield from matches(DOCKET, text)
    yield from _called(CASE, text)


def account_numbers(text: str) -> Iterator[Place]:
    """Customer, bank, order and employee numbers that are called so."""
    yield from _called(ACCOUNT, text)


def _called(pattern: re.Pattern[str], text: str) -> Iterator[Place]:
    for match in pattern.finditer(text):
        if _digits(match["value"]) >= FEWEST_DIGITS:
            yield match.span("value")


def _digits(text: str) -> int:
    return sum(char.isdigit() for char in text)
