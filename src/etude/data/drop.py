"""Leave out the rows that an audit named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from etude.data.inputs import Row
from etude.data.work import Ledger, Rows
from etude.errors import DataError

AGAIN = "audit the files again: etude data audit FILE --json {path}"


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Rows of an audit's findings left out; all others stay as they are."""

    kind: Literal["drop"] = "drop"
    audit: str
    """What `etude data audit --json` wrote about these very files."""
    findings: tuple[str, ...]
    """The findings whose rows go, by name: `label-noise`."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        return [] if self.findings else [("findings", "must name at least one")]

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The rows that none of the findings names."""
        held = self._read()
        named = self._named(held)
        self._refuse_other_files(held, rows)
        for row in rows.each("leaving out rows"):
            checks = named.get((row.origin.path, row.origin.line))
            if checks is None:
                yield row
            else:
                ledger.drop(row, " + ".join(checks))

    def _read(self) -> dict[str, Any]:
        path = Path(self.audit)
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            raise DataError(reason, where=self.audit, remedy=AGAIN.format(path=self.audit)) from None
        except ValueError:
            raise DataError("is no JSON", where=self.audit, remedy=AGAIN.format(path=self.audit)) from None
        if not isinstance(held, dict) or not isinstance(held.get("findings"), list):
            raise DataError("is not what an audit wrote", where=self.audit, remedy=AGAIN.format(path=self.audit))
        return held

    def _named(self, held: dict[str, Any]) -> dict[tuple[str, int], list[str]]:
        """(file, line) → the findings that name the row."""
        there = {finding["check"] for finding in held["findings"]}
        unknown = [name for name in self.findings if name not in there]
        if unknown:
            listed = f"it found {', '.join(sorted(there)) or 'nothing'}"
            raise DataError(f"no finding {unknown[0]!r}", where=self.audit, remedy=listed)
        named: dict[tuple[str, int], list[str]] = {}
        for finding in held["findings"]:
            if finding["check"] not in self.findings:
                continue
            if len(finding["places"]) < finding["rows"]:
                found = f"{finding['check']} names only {len(finding['places']):,} of its {finding['rows']:,} rows"
                raise DataError(found, where=self.audit, remedy="mend them at their source")
            for place in finding["places"]:
                checks = named.setdefault((place["file"], place["line"]), [])
                if finding["check"] not in checks:
                    checks.append(finding["check"])
        return named

    def _refuse_other_files(self, held: dict[str, Any], rows: Rows) -> None:
        """Lines mean nothing in a file that has changed since, or was not audited."""
        known = dict(zip(held.get("files", ()), held.get("input_hashes", ()), strict=False))
        for file in rows.inputs.files:
            if known.get(file.name) != file.sha256:
                found = "was not audited" if file.name not in known else "has changed since it was audited"
                raise DataError(found, where=file.name, remedy=AGAIN.format(path=self.audit))
