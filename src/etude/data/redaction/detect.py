"""Which kinds of personal data and secrets there are, and what finds each of them in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from etude.data.redaction.spans import Detector, Span, resolve

KINDS: dict[str, tuple[str, str]] = {
    "secret": ("credentials:secrets", "API keys, tokens, passwords, private keys"),
    "url-credentials": ("accounts:url_credentials", "user and password inside an address"),
    "email": ("accounts:emails", "e-mail addresses"),
    "iban": ("accounts:ibans", "bank accounts, by length and checksum"),
    "card": ("accounts:cards", "payment cards, by brand and checksum"),
    "national-id": ("national_ids:national_ids", "social security, tax, licence and passport numbers"),
    "ip": ("accounts:ip_addresses", "IP addresses, version 4 and 6"),
    "mac": ("accounts:mac_addresses", "hardware addresses"),
    "medical-record": ("professional:medical_records", "record, plan, prescription and device numbers"),
    "case-number": ("professional:case_numbers", "dockets, case and claim numbers"),
    "account-number": ("professional:account_numbers", "customer, order, bank and employee numbers"),
    "birth-date": ("dates:birth_dates", "dates of birth"),
    "phone": ("phones:phones", "phone and fax numbers"),
    "url": ("accounts:urls", "web addresses"),
    "date": ("dates:dates", "dates with a day, or with month and year"),
    "age": ("dates:ages", "ages in years"),
    "address": ("addresses:addresses", "postal addresses"),
    "organisation": ("entities:organisations", "companies and institutions"),
    "name": ("names:names", "people's names"),
    "place": ("entities:found_places", "countries, states, cities"),
}  # fmt: skip
"""By name: what finds it (a module of this folder and its function), and what it is."""
NUMERIC = frozenset(
    (
        "iban", "card", "national-id", "medical-record", "case-number", "account-number", "birth-date", "phone", "date",
        "age", "address",
    )
)  # fmt: skip
"""Kinds that need a digit."""
USUAL = (
    "secret", "url-credentials", "email", "iban", "card", "national-id", "ip", "mac", "birth-date", "phone", "address",
    "name",
)  # fmt: skip
"""What is looked for unless something else is asked."""
PRESETS: dict[str, tuple[str, ...]] = {
    "usual": USUAL,
    "medical": (*USUAL, "medical-record", "account-number", "url", "date", "age", "place"),
    "legal": (*USUAL, "case-number", "account-number", "organisation"),
    "all": tuple(KINDS),
}
"""medical: the identifiers of HIPAA's safe harbour rule that are text; legal: parties and the case's numbers."""

Finder = Callable[[str], Iterable[tuple[int, int, str]]]
"""Something else that finds entities, such as a model: (start, stop, kind)."""


@dataclass(frozen=True)
class DetectOptions:
    """What to look for."""

    kinds: tuple[str, ...] = USUAL
    """Kinds of personal data and secrets."""

    def problems(self) -> list[str]:
        """What is out of range."""
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        return [f"kinds: unknown kind {kind!r}; there are {', '.join(KINDS)}" for kind in unknown]


ORDER = {kind: place for place, kind in enumerate(KINDS)}


def detect(text: str, options: DetectOptions | None = None, *, finders: Sequence[Finder] = ()) -> list[Span]:
    """What is found in a text, in its order, without overlaps."""
    kinds = (options or DetectOptions()).kinds
    has_digits = any(map(str.isdigit, text))
    looked_for = kinds if has_digits else [kind for kind in kinds if kind not in NUMERIC]
    found = [Span(start, stop, kind) for kind in looked_for for start, stop in detector(kind)(text)]
    found += [Span(*entity) for finder in finders for entity in finder(text) if entity[2] in kinds]
    return resolve(found, ORDER) if found else []


@cache
def detector(kind: str) -> Detector:
    """The function that finds one kind."""
    module, _, function = KINDS[kind][0].partition(":")
    made: Detector = getattr(import_module(f"etude.data.redaction.{module}"), function)
    return made
