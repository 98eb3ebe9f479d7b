"""Redact files of rows: personal data and secrets become masks, or consistent fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etude.data.redaction.detect import KINDS, PRESETS, DetectOptions, Finder
from etude.errors import DataError

if TYPE_CHECKING:
    from etude.data.inputs import Row
    from etude.data.redaction.rows import Redactor
    from etude.data.work import Ledger, Rows

SHORTEST_KEY = 16


@dataclass(frozen=True, kw_only=True)
class Redact:
    """Personal data and secrets replaced in every text of every row."""

    kind: Literal["redact"] = "redact"
    preset: Literal["usual", "medical", "legal", "all"] = "usual"
    """What is looked for: `usual`; `medical` and `legal` add records, dates, places or parties; `all`: every kind."""
    also: tuple[str, ...] = ()
    """Kinds to look for beyond the preset's."""
    keep: tuple[str, ...] = ()
    """Kinds of the preset that stay in the text."""
    replace: Literal["mask", "surrogate"] = "mask"
    """What stands instead: a mask (`[EMAIL]`), or a fake that is the same for the same value in all rows."""
    key_file: str | None = None
    """File with the secret that fakes are drawn from; whoever has it could find out what a fake stands for."""
    ner: str | None = None
    """Folder of a token classification model that finds more names, places and organisations."""
    only: tuple[str, ...] = ()
    """Columns to redact; none given: all of them."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        known = ", ".join(KINDS)
        found = [
            (setting, f"unknown kind {kind!r}; there are {known}")
            for setting, kinds in (("also", self.also), ("keep", self.keep)) for kind in kinds if kind not in KINDS
        ]  # fmt: skip
        unfound = [kind for kind in self.keep if kind in KINDS and kind not in PRESETS[self.preset]]
        found += [("keep", f"{kind!r} is not looked for anyway") for kind in unfound]
        if self.replace == "surrogate" and self.key_file is None:
            remedy = "make one with `openssl rand -hex 32 > redact.key`"
            found.append(("key_file", f"fakes are drawn from a secret: {remedy}"))
        if self.replace == "mask" and self.key_file is not None:
            found.append(("key_file", "masks need no key; did you mean replace: surrogate?"))
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """Everything that is looked for."""
        return tuple(kind for kind in KINDS if kind in {*PRESETS[self.preset], *self.also} - {*self.keep})

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """Every row, redacted; the ledger gets counts and no text."""
        ledger.with_rows = False
        redactor = self.redactor()
        found: dict[str, int] = dict.fromkeys(self.kinds, 0)
        for row in rows.each("redacting"):
            columns, counts = redactor.values(row.columns)
            for kind, number in counts.items():
                found[kind] += number
            if counts:
                ledger.changed("redacted")
                row = row.changed(columns)
            yield row
        ledger.notes["found"] = {kind: number for kind, number in found.items() if number}
        ledger.notes["looked for"] = list(self.kinds)

    def redactor(self) -> Redactor:
        """What does the work for one row. DataError: the key cannot be used, or the model cannot be read."""
        from etude.data.redaction.rows import Redactor, mask
        from etude.data.redaction.surrogates import Surrogates

        replace = mask if self.key_file is None else Surrogates(read_key(Path(self.key_file))).fake
        columns = frozenset(self.only) or None
        return Redactor(DetectOptions(kinds=self.kinds), replace=replace, finders=self._finders(), columns=columns)

    def _finders(self) -> Sequence[Finder]:
        if self.ner is None:
            return ()
        from etude.data.redaction.model_finder import model_finder

        return (model_finder(self.ner),)


def read_key(path: Path) -> bytes:
    """The secret in a file. DataError: it cannot be read, or is too short to be one."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise DataError(
            f"the key cannot be read: {error.strerror}",
            where=str(path),
            remedy=f"make one: openssl rand -hex 32 > {path}",
        ) from None
    if len(key) < SHORTEST_KEY:
        found = f"the key has {len(key)} bytes; {SHORTEST_KEY} are the least"
        raise DataError(found, where=str(path), remedy=f"make one: openssl rand -hex 32 > {path}")
    return key
