"""A written date some days later or earlier, in the same form."""

from __future__ import annotations

import re
from datetime import date, timedelta

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
NUMERIC = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{2,4})")
NAMED = re.compile(r"[A-Za-z]{3,9}")
DAY = re.compile(r"\b(\d{1,2})(st|nd|rd|th)?\b")
YEAR = re.compile(r"\b\d{4}\b")
LEAP = 2000
"""The year of a date that names none."""
CENTURY = 70
"""Years of two digits below this are of this century."""


def shifted(text: str, days: int) -> str | None:
    """The date that a text begins with, moved; None if there is no such date. A time of day stays."""
    numeric = NUMERIC.match(text)
    return _numeric(text, numeric, days) if numeric else _named(text, days)


def _numeric(text: str, match: re.Match[str], days: int) -> str | None:
    first, sign, second, third = match.groups()
    if len(first) == 4:
        order = "ymd"
    elif int(first) > 12 or (sign == "." and int(second) <= 12):
        order = "dmy"
    else:
        order = "mdy"
    written = dict(zip(order, (first, second, third), strict=True))
    moved = _moved(int(written["y"]), int(written["m"]), int(written["d"]), days)
    if moved is None:
        return None
    parts = {"y": moved.year, "m": moved.month, "d": moved.day}
    padded = all(len(part) > 1 for part in written.values())
    made = sign.join(_as_written(parts[part], written[part], padded) for part in order)
    return made + text[match.end() :]


def _named(text: str, days: int) -> str | None:
    month = next((found for found in NAMED.finditer(text) if _month(found[0])), None)
    if month is None:
        return None
    year, day = YEAR.search(text), DAY.search(text)
    moved = _moved(int(year[0]) if year else LEAP, _month(month[0]), int(day[1]) if day else 15, days)
    if moved is None:
        return None
    replaced = [(month.span(), _month_as(moved.month, month[0]))]
    if year:
        replaced.append((year.span(), str(moved.year)))
    if day:
        replaced.append((day.span(), f"{moved.day}{_ordinal(moved.day) if day[2] else ''}"))
    for (start, stop), new in sorted(replaced, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _moved(year: int, month: int, day: int, days: int) -> date | None:
    if year < 100:
        year += 2000 if year < CENTURY else 1900
    try:
        return date(year, month, day) + timedelta(days)
    except (ValueError, OverflowError):
        return None


def _as_written(number: int, like: str, padded: bool) -> str:
    """With as many digits as the original had."""
    if len(like) == 4:
        return f"{number:04d}"
    return f"{number % 100:02d}" if padded else str(number % 100)


def _month(word: str) -> int:
    """1 to 12; 0 for a word that is no month."""
    lower = word.lower()
    return next(
        (at for at, name in enumerate(MONTHS, 1) if name == lower or (len(lower) <= 4 and name.startswith(lower))), 0
    )


def _month_as(month: int, like: str) -> str:
    name = MONTHS[month - 1]
    name = name if like.lower() in MONTHS and len(like) > 3 else name[:3]
    return name.upper() if like.isupper() else name.capitalize() if like[0].isupper() else name


def _ordinal(day: int) -> str:
    return "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
