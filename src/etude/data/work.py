"""Work on files of rows: a step takes rows and gives rows, and everything around it is done here, once for all steps.

To add a step:

1. A module with a frozen, keyword-only dataclass: `kind: Literal["mine"] = "mine"`, its settings with a docstring under
   each field, `problems()` for what is out of range, and `apply(rows, ledger)`, which yields the rows to keep.
   The command line reads it too, so heavy imports (numpy included) go inside functions.
2. A line in `etude.data.STEPS`, so that run files can name it.
3. A module of `etude.cli.data` with `add_arguments(parser)`, which calls `add_step(parser, Mine)`, and with
   `run(arguments)`, which returns `perform(arguments, Mine)`; and a line in that package's table.

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        for row in rows.each("mending"):
            if not row.columns["text"]:
                ledger.drop(row, "empty")
            elif (text := mended(row.columns["text"])) != row.columns["text"]:
                ledger.changed("mended")
                yield row.changed({**row.columns, "text": text})
            else:
                yield row

A step may go through the rows as often as it needs. It sees only those that could be taken apart; the others are
dropped and counted for it. The result depends on rows and settings alone: what is random is drawn from a `seed` among
the settings. `row.records()` is what training would read; `row.columns` is what stands in the file. Written are

    OUT.jsonl                 the rows; whole, or not there
    OUT.jsonl.dropped.jsonl   each row that was left out: file, line, reason, the row
    OUT.jsonl.manifest.json   inputs and output by sha256, settings, version, counts, reasons, what the step noted
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from etude import durable
from etude.data.check import LONGEST_RAW, BadRow
from etude.data.inputs import InputFile, Inputs, OnProgress, Row
from etude.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash

    from etude.data.audit.vectors import Embed
    from etude.data.synthesis.asking import Asked

UNREADABLE = "unreadable"
"""The reason under which rows are counted that could not even be taken apart."""
BUFFER_BYTES = 1 << 20


class Step(Protocol):
    """Rows in, rows out: a frozen dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """Its name in run files and manifests."""
        ...

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        ...

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The rows to keep, in their order; what happened to the others goes into the ledger."""
        ...


@dataclass
class Lines:
    """Lines on their way into a file, with their hash and number."""

    put: Callable[[bytes], None]
    digest: _Hash = field(default_factory=sha256)
    number: int = 0
    _held: bytearray = field(default_factory=bytearray)

    def add(self, line: str) -> None:
        """One more."""
        self._held += line.encode("utf-8", "backslashreplace") + b"\n"
        self.number += 1
        if len(self._held) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """What is held goes to the file."""
        content = bytes(self._held)
        self.digest.update(content)
        self.put(content)
        self._held.clear()


@contextmanager
def lines_of(path: Path) -> Iterator[Lines]:
    """A file of lines, which appears when the block has ended well."""
    with durable.writing(path) as put:
        lines = Lines(put)
        yield lines
        lines.flush()


@dataclass
class Ledger:
    """What happens to rows while a step works on them."""

    left_out: Lines
    dropped: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    with_rows: bool = True
    """Whether what is left out is written down, or only where it stood and why."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Whatever else the manifest should say, as JSON values."""
    says: list[str] = field(default_factory=list)
    """Sentences for the person who asked."""
    rewritten: bool = False
    """Whether the rows have a layout of their own now, so that no column mapping applies to them any more."""

    def drop(self, row: Row | BadRow, reason: str, **facts: object) -> None:
        """The row is left out; reasons are few and the same for all rows of their kind, `facts` are this row's."""
        self.dropped[reason] += 1
        said = {"file": row.origin.path, "line": row.origin.line, "reason": reason, **facts}
        held = {"row": row.columns} if isinstance(row, Row) else {"raw": row.raw[:LONGEST_RAW]}
        held = held if self.with_rows else {}
        self.left_out.add(json.dumps({**said, **held}, ensure_ascii=False, default=str))

    def changed(self, what: str, number: int = 1) -> None:
        """Something was done to a row that stays."""
        self.changes[what] += number


@dataclass
class Rows:
    """The rows that a step works on, as often as it asks for them."""

    inputs: Inputs
    ledger: Ledger
    asked: Asked | None = None
    """Who writes, judges and scores, for a step that makes rows."""
    embed: Embed | None = None
    """Texts as vectors, for a step that names an embedding model."""
    num_good: int = 0
    num_bad: int = 0
    _parts: list[Rows] = field(default_factory=list)

    def part(self, files: tuple[InputFile, ...]) -> Rows:
        """Rows of some of the files, or of others that the step reads too; they are counted with these."""
        self._parts.append(Rows(replace(self.inputs, files=files), self.ledger))
        return self._parts[-1]

    @property
    def num_read(self) -> int:
        """All that were read so far, broken ones included."""
        return self.num_good + self.num_bad + sum(each.num_read for each in self._parts)

    def progress(self, title: str) -> AbstractContextManager[OnProgress]:
        """Progress of something that is not a pass over the rows: gives `on_progress(done, total)`."""
        return self.inputs.progress(title)

    def each(self, title: str) -> Iterator[Row]:
        """Every row from the first one on; `title` says what it is read for. Broken ones are dropped the first time."""
        good = bad = 0
        for row in self.inputs.each(title):
            if isinstance(row, Row):
                good += 1
                self.num_good = max(self.num_good, good)
                yield row
                continue
            bad += 1
            if bad > self.num_bad:
                self.num_bad = bad
                self.ledger.drop(row, UNREADABLE, found=row.reason)


@dataclass(frozen=True)
class Outcome:
    """What became of the rows."""

    output: Path
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    changed: dict[str, int]
    notes: dict[str, Any]
    says: tuple[str, ...]
    rewritten: bool = False


def manifest_of(output: Path) -> Path:
    """The manifest beside an output."""
    return output.with_name(f"{output.name}.manifest.json")


def dropped_of(output: Path) -> Path:
    """The rows that were left out, beside an output."""
    return output.with_name(f"{output.name}.dropped.jsonl")


def work(
    inputs: Inputs,
    step: Step,
    output: Path,
    *,
    command: Sequence[str] = (),
    force: bool = False,
    asked: Asked | None = None,
    embed: Embed | None = None,
) -> Outcome:
    """Everything the step keeps, written to `output` as JSON lines, with what was left out and a manifest beside it.

    `asked` are the models of steps that make rows, `embed` is that of steps which compare by meaning. Nothing appears
    before all of it is written, the output last.

    Raises:
        DataError: the output is an input, or is there already and `force` is off; or the step keeps no row.
    """
    refuse_overwriting(inputs, (output, dropped_of(output), manifest_of(output)), force=force)
    durable.make_directory(output.parent, exist_ok=True)
    with lines_of(output) as kept:
        with lines_of(dropped_of(output)) as left_out:
            ledger = Ledger(left_out)
            rows = Rows(inputs, ledger, asked, embed)
            for row in step.apply(rows, ledger):
                kept.add(row.line())
        if not kept.number:
            raise DataError("no row would be left", where=str(output), remedy=_counted(ledger))
        kept.flush()
        outcome = Outcome(
            output, rows.num_read, kept.number, in_order(ledger.dropped), in_order(ledger.changes),
            ledger.notes, tuple(ledger.says), ledger.rewritten,
        )  # fmt: skip
        outputs = {output.name: {"rows": kept.number, "sha256": kept.digest.hexdigest()}}
        manifest = described(inputs, asdict(step), outputs, outcome, command=command)
        durable.write_json(manifest_of(output), manifest)
    return outcome


def described(
    inputs: Inputs, settings: dict[str, Any], outputs: dict[str, Any], outcome: Outcome, *, command: Sequence[str]
) -> dict[str, Any]:
    """What a manifest says; the same for the same rows and settings."""
    return {
        "etude": version("etude"),
        "command": list(command),
        "settings": settings,
        "inputs": inputs.described(),
        "outputs": outputs,
        "rows_in": outcome.rows_in,
        "rows_out": outcome.rows_out,
        "dropped": outcome.dropped,
        "changed": outcome.changed,
        "notes": outcome.notes,
        "says": list(outcome.says),
        "rewritten": outcome.rewritten,
    }


def refuse_overwriting(inputs: Inputs, outputs: Sequence[Path], *, force: bool) -> None:
    """DataError where the first of the outputs exists and `force` is off, or where any of them is an input."""
    output = outputs[0]
    if output.suffix.lower() != ".jsonl":
        raise DataError("rows are written as JSON lines", where=str(output), remedy="give it the ending .jsonl")
    read = {file.source.path.resolve() for file in inputs.files}
    for path in outputs:
        if path.resolve() in read:
            raise DataError(
                "is an input, and inputs are never overwritten", where=str(path), remedy="choose another name"
            )
    if output.exists() and not force:
        raise DataError("is there already", where=str(output), remedy="choose another name, or add --force")


def in_order(counted: Counter[str]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _counted(ledger: Ledger) -> str:
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in in_order(ledger.dropped).items())
    return f"all were left out: {reasons}" if reasons else "the step kept none"
