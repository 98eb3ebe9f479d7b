"""Text that was damaged on its way: what `etude data clean` would mend, and what nothing can."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Severity, Spotted
from etude.data.audit.remedies import Remedies
from etude.data.normalize import controls, encoding, entities, unicode_form

DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
TAGS = re.compile(r"</?(?:p|br|div|span|li|ul|td|tr|b|i|strong|em)\b[^<>]{0,200}>", re.IGNORECASE)
ESCAPES = re.compile(r"\\n|\\t|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")
AROUND = 24

Look = Callable[[str], str | None]


def _changed(change: Callable[[str], str], *, even_ascii: bool = False, first: Callable[[str], str] = str) -> Look:
    """Where a text differs from what cleaning makes of it; `first` undoes damage that would be taken for this one."""

    def look(text: str) -> str | None:
        if text.isascii() and not even_ascii:
            return None
        text = first(text)
        made = change(text)
        if made == text:
            return None
        start = next((at for at, pair in enumerate(zip(text, made, strict=False)) if pair[0] != pair[1]), len(made))
        begin = max(0, start - AROUND)
        return f"{text[begin : start + AROUND]!r} for {made[begin : start + AROUND]!r}"

    return look


def _matched(pattern: re.Pattern[str], needs: str = "") -> Look:
    def look(text: str) -> str | None:
        found = pattern.search(text) if needs in text else None
        return found and repr(text[max(0, found.start() - AROUND) : found.end() + AROUND])

    return look


def _lost(text: str) -> str | None:
    at = text.find("\ufffd")
    return text[max(0, at - AROUND) : at + AROUND] if at >= 0 else None


class _Fault(NamedTuple):
    look: Look
    severity: Severity
    title: str
    advice: str
    is_mended: bool
    """Whether `etude data clean` puts it right."""


FAULTS: Mapping[str, _Fault] = {
    "misread-encoding": _Fault(
        _changed(encoding), "error", "{rows} hold text that was read in the wrong encoding (Ã©, â€™)",
        "The model would learn to write these sequences.", True,
    ),
    "lost-characters": _Fault(
        _lost, "warning", "{rows} hold U+FFFD, the mark of a character that was lost",
        "What stood there is gone from this file; export it again from its source as UTF-8.", False,
    ),
    "control-characters": _Fault(
        _changed(controls, even_ascii=True, first=encoding), "warning",
        "{rows} hold control characters or spaces of no width",
        "They carry no meaning, use up tokens, and make equal texts unequal.", True,
    ),
    "decomposed-letters": _Fault(
        _changed(unicode_form), "note", "{rows} spell accented letters as letter and accent (not NFC)",
        "Equal words then have different tokens. Compose them, in production too.", True,
    ),
    "direction-marks": _Fault(
        _matched(DIRECTION), "note", "{rows} hold marks that change the direction of writing",
        "Text can look different from what it says; needed in few places even in right-to-left scripts.", False,
    ),
    "entities": _Fault(
        _changed(entities, even_ascii=True), "note", "{rows} hold HTML entities (&amp; for &)",
        "Left over from scraping, unless the model is to write HTML.", True,
    ),
    "tags": _Fault(
        _matched(TAGS, "<"), "note", "{rows} hold HTML tags", "Fine if the model is meant to read HTML.", False
    ),
    "written-escapes": _Fault(
        _matched(ESCAPES, "\\"), "note", r"{rows} hold escapes written out (\n, \u00e9)",
        "Often a text that was encoded twice. Fine in code and mathematics.", False,
    ),
}  # fmt: skip


@dataclass
class Encoding:
    """Looks for damaged text in every part of a row."""

    spotted: dict[str, Spotted] = field(default_factory=lambda: {name: Spotted() for name in FAULTS})

    def take(self, one: Example) -> None:
        """One more row; each fault is counted once a row."""
        texts = one.texts
        for name, fault in FAULTS.items():
            shown = next(filter(None, map(fault.look, texts)), None)
            if shown is not None:
                self.spotted[name].add(one.origin, shown)

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What was seen."""
        return [
            finding
            for name, fault in FAULTS.items()
            for finding in self.spotted[name].finding(
                name, fault.severity, fault.title, advice=fault.advice,
                command=remedies.clean("--copies", "keep") if fault.is_mended else "",
            )
        ]  # fmt: skip
