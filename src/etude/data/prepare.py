"""From records to samples: rendered, checked, measured, and summed up for the run directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from etude.data.check import SHOWN, BadRow, enough_good, quarantine
from etude.data.collecting import without_collecting
from etude.data.length import shorten, windows
from etude.data.options import OverLength
from etude.data.plan import Plan
from etude.data.read import Records
from etude.data.render import EncodedRow, Renderer
from etude.data.show import pieces
from etude.data.split import duplicates
from etude.data.store import StoreWriter, TokenStore
from etude.data.summary import DataSummary, notes, token_counts
from etude.errors import DataError, Problems
from etude.records import Judged, Origin, Preference, Prompt, Record, Text

ROWS_PER_PASS = 2_000
NUM_EXAMPLES = 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """What training needs of the data."""

    samples: TokenStore
    heldout: TokenStore
    summary: DataSummary
    bad: tuple[BadRow, ...]
    """Unusable rows of reading and rendering together."""


@dataclass
class _Side:
    """The training rows, or the held-out ones, on their way."""

    bad: list[BadRow] = field(default_factory=list)
    too_long: list[tuple[Origin, int]] = field(default_factory=list)
    """The first ones."""
    longest: int = 0
    examples: list[EncodedRow] = field(default_factory=list)
    """The first sequence of each of the first samples."""
    only_texts: bool = True
    odd: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Way:
    """How rows become samples, and where these go."""

    renderer: Renderer
    writer: StoreWriter
    max_tokens: int
    over_length: OverLength

    def take(self, side: _Side, records: Sequence[Record]) -> None:
        """A few rows at once."""
        planned: list[tuple[Record, tuple[Plan, ...]]] = []
        for record, found in zip(records, self.renderer.plan_all(records), strict=True):
            side.only_texts = side.only_texts and isinstance(record, Text)
            if isinstance(found, DataError):
                side.bad.append(BadRow(record.origin, str(found), ""))
            else:
                planned.append((record, found))
        plans = [plan for _, each in planned for plan in each]
        encoded = iter(self.renderer.encoded(plans))
        spelt, merged = self.renderer.odd(plans)
        side.odd.update({"control_text": len(spelt), "boundary": len(merged)})
        for record, each in planned:
            self._take_one(side, record, list(islice(encoded, len(each))))

    def _take_one(self, side: _Side, record: Record, made: Sequence[EncodedRow]) -> None:
        if not all(row.learns for row in made) and not isinstance(record, Prompt):
            side.bad.append(BadRow(record.origin, "0 tokens to learn: every answer has weight 0", ""))
        elif max(len(row.tokens) for row in made) <= self.max_tokens:
            self._add(side, record, made)
        elif isinstance(record, Text):
            self._add_windows(side, record, made[0])
        else:
            self._add_long(side, record, made)

    def _add(self, side: _Side, record: Record, made: Sequence[EncodedRow]) -> None:
        if len(side.examples) < NUM_EXAMPLES:
            side.examples.append(made[0])
        side.counts["prompts"] += isinstance(record, Prompt)
        weight = record.weight if isinstance(record, Preference | Judged) else 1.0
        self.writer.add(record.origin, made, row_values(record), weight=weight)

    def _add_windows(self, side: _Side, record: Text, row: EncodedRow) -> None:
        parts = windows(row, self.max_tokens, self.renderer.num_opening)
        side.counts.update(texts=1, windows=len(parts))
        for part in parts:
            self._add(side, record, (part,))

    def _add_long(self, side: _Side, record: Record, made: Sequence[EncodedRow]) -> None:
        longest = max(len(row.tokens) for row in made)
        if len(side.too_long) < SHOWN:
            side.too_long.append((record.origin, longest))
        side.longest = max(side.longest, longest)
        side.counts["too_long"] += 1
        truncates = self.over_length == "truncate-prompt"
        shorter = shorten(record, self.renderer, self.max_tokens) if truncates else None
        if shorter is None:
            side.counts["dropped"] += 1
            return
        side.counts["truncated"] += 1
        self._add(side, shorter, self.renderer.encoded(self.renderer.plans(shorter)))


def prepare(
    records: Records,
    renderer: Renderer,
    *,
    heldout: Records | None = None,
    max_tokens: int,
    over_length: OverLength = "error",
    max_bad_share: float = 0.01,
    quarantine: Path | None = None,
    on_progress: Progress | None = None,
    folder: Path | None = None,
    num_known: int = 0,
) -> Prepared:
    """Render, check and measure the training rows and the held-out ones; `folder` takes their tokens as files.

    `num_known` is how many held-out rows are near copies of training rows, where that was looked for.

    Raises Problems for rows over `max_tokens` under the policy `error`, and for more than `max_bad_share` of rows that
    the template refuses or that teach nothing; DataError if nothing is left to learn.
    """
    kept = heldout if heldout is not None else Records((), "", "")
    total = len(records) + len(kept)
    what = ", ".join(records.sources) or "the records"
    sides = (_Side(), _Side())
    with closing(StoreWriter(folder)) as writer, without_collecting():
        way = _Way(renderer, writer, max_tokens, over_length)
        done = 0
        for side, rows in zip(sides, (records, kept), strict=True):
            for part in _parts(rows):
                way.take(side, part)
                done += len(part)
                if on_progress is not None:
                    on_progress(done, total)
            writer.end_side()
        new = [*sides[0].bad, *sides[1].bad]
        bad = tuple(dict.fromkeys((*records.bad, *kept.bad, *new)))
        if bad and quarantine is not None:
            _write_quarantine(quarantine, bad)
        _check(sides, records, max_tokens=max_tokens, over_length=over_length)
        enough_good(new, good=total - len(new), what=what, max_bad_share=max_bad_share, quarantined=quarantine)
        samples, held = writer.finish()
    if not samples.num_learned() and not sides[0].counts["prompts"]:
        raise DataError("0 trainable tokens are left", where=what, remedy=_why_nothing(sides[0], max_tokens))
    summary = _summary((records, kept), sides, (samples, held), renderer, over_length=over_length, bad=len(bad))
    summary = replace(summary, duplicates={**summary.duplicates, "near_across_split": num_known})
    summary = replace(summary, notes=notes(summary))
    return Prepared(samples, held, summary, bad)


def row_values(record: Record) -> tuple[float, ...]:
    """What is known of the record's rows as wholes."""
    if isinstance(record, Preference):
        return (record.margin, 0.0)
    if isinstance(record, Judged):
        told = record.judgement
        return (float(told) if not isinstance(told, bool) else 1.0 if told else -1.0, 0.0)
    return ()


def _parts(records: Records) -> Iterator[list[Record]]:
    """The rows, a pass at a time."""
    rows = iter(records)
    while part := list(islice(rows, ROWS_PER_PASS)):
        yield part


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    quarantine(path, bad)


def _check(sides: Sequence[_Side], records: Records, *, max_tokens: int, over_length: OverLength) -> None:
    number = sum(side.counts["too_long"] for side in sides)
    if over_length != "error" or not number:
        return
    longest = max(side.longest for side in sides)
    shown = [row for side in sides for row in side.too_long][:SHOWN]
    problems = [f"{origin}: {size:,} tokens" for origin, size in shown]
    if number > SHOWN:
        problems.append(f"... and {number - SHOWN:,} more")
    problems.append(
        f"raise max_tokens to {longest:,}, or set over_length to drop or truncate-prompt (answers are never cut)"
    )
    where = ", ".join(records.sources)
    raise Problems(f"{where}: {number:,} rows are longer than max_tokens ({max_tokens:,})", problems)


def _why_nothing(side: _Side, max_tokens: int) -> str:
    if side.counts["dropped"]:
        return f"all {side.counts['dropped']:,} rows are longer than max_tokens ({max_tokens:,}); raise it"
    return "check that the rows have answers, and weights above 0"


def _summary(
    records: tuple[Records, Records],
    sides: tuple[_Side, _Side],
    samples: tuple[TokenStore, TokenStore],
    renderer: Renderer,
    *,
    over_length: OverLength,
    bad: int,
) -> DataSummary:
    train, kept = records
    counts = sides[0].counts + sides[1].counts
    odd = sides[0].odd + sides[1].odd
    within, across = duplicates(train, kept)
    digest = train.sha256
    if kept.sha256 and kept.sha256 != train.sha256:
        digest = sha256(f"{train.sha256} {kept.sha256}".encode()).hexdigest()
    return DataSummary(
        source=", ".join(dict.fromkeys((*train.sources, *kept.sources))),
        detected=train.detected,
        format=train.format,
        sha256=digest,
        rows=len(train) + len(kept),
        bad_rows=bad,
        train_rows=len(samples[0]),
        heldout_rows=len(samples[1]),
        tokens=token_counts(samples[0]),
        over_length={"policy": over_length, "dropped": counts["dropped"], "truncated": counts["truncated"]},
        windows={"texts": counts["texts"], "windows": counts["windows"]},
        duplicates={"within_train": within, "across_split": across},
        odd={"control_text": odd["control_text"], "boundary": odd["boundary"]},
        template_sha256="" if sides[0].only_texts else renderer.template_sha256,
        examples=[list(pieces(renderer, renderer.rendered(row))) for row in sides[0].examples],
        notes=[],
    )
