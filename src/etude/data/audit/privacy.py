"""Personal data and secrets in rows: what `etude data redact` would mask, said before it acts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Severity, Spotted
from etude.data.audit.remedies import Remedies
from etude.data.redaction.detect import KINDS, USUAL, DetectOptions, detect

SECRETS = ("secret", "url-credentials")
SURE = (*SECRETS, "email", "iban", "card", "national-id", "phone", "birth-date", "address")
"""Kinds that are told by a checksum or a form of their own."""
SLOW = DetectOptions(("name", "address"))
QUICK = DetectOptions(tuple(kind for kind in USUAL if kind not in SLOW.kinds))
SHOWN_AT_MOST = 12
"""Characters of what was found that are shown: a report must not spread what it warns of."""


@dataclass(frozen=True)
class PrivacyTable:
    """Rows by kind of what was found in them, the commonest first."""

    kinds: tuple[tuple[str, int], ...]


@dataclass
class Privacy:
    """Looks for personal data and secrets in every part of a row."""

    rows: Counter[str] = field(default_factory=Counter)
    _secrets: Spotted = field(default_factory=Spotted)
    _sure: Spotted = field(default_factory=Spotted)
    _names: Spotted = field(default_factory=Spotted)

    def take(self, one: Example) -> None:
        """One more row; names and addresses, which take far longer than all others together, are left for `closely`."""
        self._look(one, QUICK)

    def closely(self, sample: Sequence[Example]) -> None:
        """Names and addresses in rows that are at hand."""
        for one in sample:
            self._look(one, SLOW)

    def _look(self, one: Example, options: DetectOptions) -> None:
        found: dict[str, str] = {}
        for text in one.texts:
            for kind, held in _found(text, options):
                found.setdefault(kind, held)
        self.rows.update(found.keys())
        for spotted, kinds in (
            (self._secrets, [kind for kind in found if kind in SECRETS]),
            (self._sure, [kind for kind in found if kind in SURE and kind not in SECRETS]),
            (self._names, [kind for kind in found if kind not in SURE]),
        ):
            if kinds:
                spotted.add(one.origin, "; ".join(f"{kind} {masked(found[kind])}" for kind in kinds))

    def finish(self) -> PrivacyTable:
        """The counts."""
        return PrivacyTable(tuple(self.rows.most_common()))

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What was seen."""
        listed = ", ".join(f"{KINDS[kind][1]} in {count:,}" for kind, count in self.rows.most_common(5))
        what: tuple[tuple[str, Severity, str, Spotted, str], ...] = (
            ("secrets", "error", "{rows} hold keys, tokens or passwords", self._secrets,
             "A model learns them by heart and gives them away. Revoke them, too: whoever has the file has them."),
            ("personal-data", "warning", "{rows} hold personal data", self._sure,
             f"A model may learn it by heart. Found: {listed}."),
            ("names", "note", "{rows} hold what looks like people's names", self._names,
             "Names are told by lists and by what stands around them, which errs; famous people's are no secret."),
        )  # fmt: skip
        return [
            finding
            for check, severity, title, spotted, advice in what
            for finding in spotted.finding(check, severity, title, advice=advice, command=remedies.redact())
        ]


@lru_cache(maxsize=1 << 13)
def _found(text: str, options: DetectOptions) -> tuple[tuple[str, str], ...]:
    """(kind, what was found); labels and system messages stand in many rows, so they are remembered."""
    return tuple((span.kind, text[span.start : span.stop]) for span in detect(text, options))


def masked(text: str) -> str:
    """The first letters of what was found; the rest as dots."""
    shown = text[: min(4, len(text) // 3)]
    return f"{shown}{'•' * min(SHOWN_AT_MOST - len(shown), len(text) - len(shown))}"
