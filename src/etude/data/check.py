"""Rows that cannot be used: counted, named, quarantined, and a stop when there are too many of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etude import durable
from etude.errors import Problems
from etude.records import Origin

SHOWN = 10
LONGEST_RAW = 10_000


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be learned from, and why; `raw` is the row as it stood in the file (very long ones cut)."""

    origin: Origin
    reason: str
    raw: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


class RowError(ValueError):
    """Why one row cannot be used; becomes a BadRow, never leaves the room."""


def quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    """Write the unusable rows as JSON lines (file, line, reason, raw), so that they can be mended and read again."""
    lines = [
        json.dumps(
            {
                "file": row.origin.path,
                "line": row.origin.line,
                "reason": row.reason,
                "raw": row.raw[:LONGEST_RAW].encode("utf-8", "backslashreplace").decode("utf-8"),
            },
            ensure_ascii=False,
        )
        for row in bad
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(path, "".join(f"{line}\n" for line in lines))


def enough_good(
    bad: Sequence[BadRow], *, good: int, what: str, max_bad_share: float, quarantined: Path | None = None
) -> None:
    """Raise Problems with the first ten reasons when the share of unusable rows is above `max_bad_share`."""
    total = len(bad) + good
    if not bad or (good and len(bad) / total <= max_bad_share):
        return
    if good:
        share = f"{len(bad) / total:.1%}, limit {max_bad_share:.1%}"
        title = f"{what}: {len(bad):,} of {total:,} rows cannot be used ({share})"
        remedy = f"mend them, or raise max_bad_share to at least {len(bad) / total:.3f} to train without them"
    else:
        title = f"{what}: not one of the {total:,} rows can be used"
        remedy = "look at a row with `etude data show`, and name the layout with `format:` or `columns:`"
    problems = [str(row) for row in bad[:SHOWN]]
    if len(bad) > SHOWN:
        problems.append(f"... and {len(bad) - SHOWN:,} more")
    problems.extend(_encoding_hint(bad))
    if quarantined is not None:
        problems.append(f"all of them are in {quarantined}")
    problems.append(remedy)
    raise Problems(title, problems)


def _encoding_hint(bad: Sequence[BadRow]) -> list[str]:
    wrong = [row for row in bad if row.reason.startswith("not UTF-8")]
    if 2 * len(wrong) <= len(bad):
        return []
    path = wrong[0].origin.path
    convert = f"iconv -f WINDOWS-1252 -t UTF-8 {path} > utf8-{Path(path).name}"
    return [f"{path} looks like Latin-1 or Windows-1252 text; convert it: {convert}"]
