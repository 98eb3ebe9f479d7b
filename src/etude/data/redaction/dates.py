"""Dates, dates of birth, and ages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from etude.data.redaction.spans import Place, before, matches

MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
YEAR = r"(?:1[89]|20)\d{2}"
CLOCK = r"(?:[T ,]{1,2}(?:at )?\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[ap]\.?m\.?|Z|[+-]\d{2}:?\d{2})?)?"
DATE = re.compile(
    r"(?<![\w./-])(?:"
    rf"{YEAR}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01]){CLOCK}"
    rf"|(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|[12]\d|3[01])\2(?:{YEAR}|\d{{2}}){CLOCK}"
    rf"|{DAY}(?: of)?[ -]{MONTH},?(?:[ -]{YEAR}|(?=\W|$)){CLOCK}"
    rf"|{MONTH} {DAY}(?:,? {YEAR}|(?=\W|$)){CLOCK}"
    rf"|{MONTH},? {YEAR}"
    r")(?![\w/]|[.-]\d)",
    re.IGNORECASE,
)
BIRTH = re.compile(
    r"\b(?:born|birth(?:day|date)?s?|d\.?o\.?b\.?|date of birth|geboren|geburts\w*|n[ée]e? le|nacid[oa]"
    r"|nacimiento|nat[oa] il)\b[^\d]{0,40}$",
    re.IGNORECASE,
)
AGE = re.compile(
    r"\b(?P<a>\d{1,3})(?:[ -]?(?:years?|yrs?|months?)[ -]old|[ -]?(?:y/?o|y\.o\.)(?![\w])|[ -]years?[ -]of[ -]age)"
    r"|\b(?:aged?|at the age of|age of|turn(?:ed|s|ing)?(?: \w+)?)[ :=]{1,3}(?P<b>\d{1,3})(?![\w%/:.-]*\d|[%°])"
    r"|\b(?:I am|I['’]?m|(?:she|he) is|(?:she|he)['’]s|(?:is|am) (?:now|only|already))(?: (?:now|only"
    r"|already))? (?P<c>[1-9]\d)(?= ?(?:[.,;!?]|and|but|$|\n))",
    re.IGNORECASE,
)
OLDEST = 120


def dates(text: str) -> Iterator[Place]:
    """Dates with a day, or with month and year, and the time of day with them; a year alone is no date."""
    return matches(DATE, text)


def birth_dates(text: str) -> Iterator[Place]:
    """Dates that the words before them call a birth."""
    for match in DATE.finditer(text):
        if BIRTH.search(before(text, match.start(), 64)):
            yield match.span()


def ages(text: str) -> Iterator[Place]:
    """The number of someone's years."""
    for match in AGE.finditer(text):
        group = match.lastgroup
        if group and int(match[group]) <= OLDEST:
            yield match.span(group)
