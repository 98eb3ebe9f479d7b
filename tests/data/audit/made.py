"""Rows on a disk, and what an audit says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from etude.data.audit.audit import Audit, audit
from etude.data.audit.finding import Finding
from etude.data.audit.options import AuditOptions
from etude.data.inputs import open_inputs
from etude.data.render import Renderer
from tests.data.tokenizers_zoo import families

PLACES = ("kitchen", "garden", "cellar", "attic", "garage", "hallway", "bathroom", "balcony")
SYLLABLES = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu")
THINGS = ("lamp", "chair", "table", "window", "door", "shelf", "mirror", "carpet", "plant", "clock", "heater")


def asked(number: int) -> str:
    """A question that no other number asks."""
    place, thing = PLACES[number % len(PLACES)], THINGS[number // len(PLACES) % len(THINGS)]
    made_up = "".join(SYLLABLES[int(digit)] for digit in str(100_000 + number * 7919 % 900_000))
    return f"Please tell me where the {made_up} {thing} of the {place} was bought last year"


def pairs(count: int, answer: str = "In shop {} of our town.") -> list[dict[str, str]]:
    """Rows without a fault."""
    return [{"prompt": asked(number), "completion": answer.format(number)} for number in range(count)]


def written(path: Path, rows: Sequence[Mapping[str, object] | str]) -> Path:
    """The rows as JSON lines; texts stand there as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def audited(path: Path, *others: Path, **options: object) -> Audit:
    """The audit of files, lengths in a toy tokenizer's tokens."""
    chosen = AuditOptions(**options)  # type: ignore[arg-type]
    return audit(open_inputs([path, *others]), chosen, renderer=Renderer(families()["chatml"]), model="toy")


def of(found: Audit, check: str) -> Finding:
    """The one finding of a check."""
    (finding,) = (finding for finding in found.findings if finding.check == check)
    return finding


def lines(found: Audit, check: str) -> list[int]:
    """The lines of all findings of a check, in order."""
    return sorted(place.origin.line for finding in found.findings if finding.check == check for place in finding.places)


def names(found: Audit) -> set[str]:
    """Every check that found something."""
    return {finding.check for finding in found.findings}
