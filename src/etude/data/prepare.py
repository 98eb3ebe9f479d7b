"""From records to samples: rendered, checked, measured, and summed up for the run directory."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from etude.batch import Sample, TokenRow
from etude.data.check import SHOWN, BadRow, enough_good, quarantine
from etude.data.length import shorten, windows
from etude.data.options import OverLength
from etude.data.read import Records
from etude.data.render import Plan, RenderedRow, Renderer
from etude.data.show import Piece, pieces
from etude.data.split import duplicates
from etude.errors import DataError, Problems
from etude.records import Origin, Record, Text

ROWS_PER_PASS = 2_000
NUM_EXAMPLES = 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Over the training rows."""

    total: int
    learned: int
    longest: int
    median: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a run writes as `data.json`."""

    source: str
    detected: str
    format: str
    sha256: str
    rows: int
    """Usable rows read, held-out ones included."""
    bad_rows: int
    train_rows: int
    heldout_rows: int
    tokens: TokenCounts
    over_length: dict[str, Any]
    """policy, and how many rows were dropped and truncated."""
    windows: dict[str, int]
    """Plain texts longer than max_tokens, and the windows they became."""
    duplicates: dict[str, int]
    """within_train: rows that repeat an earlier one; across_split: held-out rows that also stand in training rows."""
    odd: dict[str, int]
    """Rows whose content spells a control token (control_text), or whose answer would merge with the template's text
    before it if tokenized as one string (boundary). Neither changes what is learned."""
    template_sha256: str
    examples: list[list[Piece]]
    notes: list[str]
    """Sentences worth printing before a run."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """What training needs of the data."""

    samples: tuple[Sample, ...]
    heldout: tuple[Sample, ...]
    summary: DataSummary
    bad: tuple[BadRow, ...]
    """Unusable rows of reading and rendering together."""


@dataclass
class _Side:
    """The training rows, or the held-out ones, on their way."""

    samples: list[Sample] = field(default_factory=list)
    rendered: list[RenderedRow] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    too_long: list[tuple[Origin, int]] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    ids: Counter[str] = field(default_factory=Counter)


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
) -> Prepared:
    """Render, check and measure the training rows and the held-out ones.

    Raises Problems for rows over `max_tokens` under the policy `error`, and for more than `max_bad_share` of rows that
    the template refuses or that teach nothing; DataError if nothing is left to learn.
    """
    kept = heldout if heldout is not None else Records((), "", "")
    total = len(records) + len(kept)
    sides = (_Side(), _Side())
    done = 0
    for side, rows in zip(sides, (records.rows, kept.rows), strict=True):
        for at in range(0, len(rows), ROWS_PER_PASS):
            part = rows[at : at + ROWS_PER_PASS]
            _render(side, part, renderer, max_tokens=max_tokens, over_length=over_length)
            done += len(part)
            if on_progress is not None:
                on_progress(done, total)
    new = [*sides[0].bad, *sides[1].bad]
    bad = tuple(dict.fromkeys((*records.bad, *kept.bad, *new)))
    if new and quarantine is not None:
        _write_quarantine(quarantine, bad)
    _check(sides, records, max_tokens=max_tokens, over_length=over_length)
    what = ", ".join(records.sources) or "the records"
    enough_good(new, good=total - len(new), what=what, max_bad_share=max_bad_share, quarantined=quarantine)
    if not any(row.learns for row in sides[0].rendered):
        raise DataError("0 trainable tokens are left", where=what, remedy=_why_nothing(sides[0], max_tokens))
    summary = _summary(records, kept, sides, renderer, over_length=over_length, bad=len(bad))
    return Prepared(tuple(sides[0].samples), tuple(sides[1].samples), summary, bad)


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    quarantine(path, bad)


def _render(
    side: _Side, rows: Sequence[Record], renderer: Renderer, *, max_tokens: int, over_length: OverLength
) -> None:
    planned: list[tuple[Record, tuple[Plan, ...]]] = []
    for record in rows:
        try:
            planned.append((record, renderer.plans(record)))
        except DataError as error:
            side.bad.append(BadRow(record.origin, str(error), ""))
    plans = [plan for _, each in planned for plan in each]
    rendered = iter(renderer.encode(plans))
    spelt, merged = renderer.odd(plans)
    side.odd.update({"control_text": len(spelt), "boundary": len(merged)})
    for record, each in planned:
        made = tuple(next(rendered) for _ in each)
        if not all(row.learns for row in made):
            side.bad.append(BadRow(record.origin, "0 tokens to learn: every answer has weight 0", ""))
        elif isinstance(record, Text):
            _take_text(side, record, made[0], renderer, max_tokens)
        elif max(len(row.tokens) for row in made) <= max_tokens:
            _take(side, record, made)
        else:
            _take_long(side, record, made, renderer, max_tokens=max_tokens, over_length=over_length)


def _take(side: _Side, record: Record, made: Sequence[RenderedRow]) -> None:
    side.ids[str(record.origin)] += 1
    again = side.ids[str(record.origin)]
    name = f"{record.origin}#{again}" if again > 1 else str(record.origin)
    side.samples.append(Sample(name, tuple(TokenRow(row.tokens, row.weights) for row in made)))
    side.rendered.extend(made)


def _take_text(side: _Side, record: Text, row: RenderedRow, renderer: Renderer, max_tokens: int) -> None:
    parts = windows(row, max_tokens, renderer.num_opening)
    if len(parts) > 1:
        side.counts.update(texts=1, windows=len(parts))
    for part in parts:
        _take(side, record, (part,))


def _take_long(
    side: _Side,
    record: Record,
    made: Sequence[RenderedRow],
    renderer: Renderer,
    *,
    max_tokens: int,
    over_length: OverLength,
) -> None:
    side.too_long.append((record.origin, max(len(row.tokens) for row in made)))
    shorter = shorten(record, renderer, max_tokens) if over_length == "truncate-prompt" else None
    if shorter is None:
        side.counts["dropped"] += 1
        return
    side.counts["truncated"] += 1
    _take(side, shorter, renderer.rows(shorter))


def _check(sides: Sequence[_Side], records: Records, *, max_tokens: int, over_length: OverLength) -> None:
    too_long = [row for side in sides for row in side.too_long]
    if over_length != "error" or not too_long:
        return
    longest = max(size for _, size in too_long)
    problems = [f"{origin}: {size:,} tokens" for origin, size in too_long[:SHOWN]]
    if len(too_long) > SHOWN:
        problems.append(f"... and {len(too_long) - SHOWN:,} more")
    problems.append(
        f"raise max_tokens to {longest:,}, or set over_length to drop or truncate-prompt (answers are never cut)"
    )
    where = ", ".join(records.sources)
    raise Problems(f"{where}: {len(too_long):,} rows are longer than max_tokens ({max_tokens:,})", problems)


def _why_nothing(side: _Side, max_tokens: int) -> str:
    if side.counts["dropped"]:
        return f"all {side.counts['dropped']:,} rows are longer than max_tokens ({max_tokens:,}); raise it"
    return "check that the rows have answers, and weights above 0"


def _summary(
    records: Records, kept: Records, sides: Sequence[_Side], renderer: Renderer, *, over_length: OverLength, bad: int
) -> DataSummary:
    counts = sides[0].counts + sides[1].counts
    odd = sides[0].odd + sides[1].odd
    within, across = duplicates(records.rows, kept.rows)
    digest = records.sha256
    if kept.sha256 and kept.sha256 != records.sha256:
        digest = sha256(f"{records.sha256} {kept.sha256}".encode()).hexdigest()
    summary = DataSummary(
        source=", ".join(dict.fromkeys((*records.sources, *kept.sources))),
        detected=records.detected,
        format=records.format,
        sha256=digest,
        rows=len(records) + len(kept),
        bad_rows=bad,
        train_rows=len(sides[0].samples),
        heldout_rows=len(sides[1].samples),
        tokens=_token_counts(sides[0].rendered),
        over_length={"policy": over_length, "dropped": counts["dropped"], "truncated": counts["truncated"]},
        windows={"texts": counts["texts"], "windows": counts["windows"]},
        duplicates={"within_train": within, "across_split": across},
        odd={"control_text": odd["control_text"], "boundary": odd["boundary"]},
        template_sha256="" if all(isinstance(row, Text) for row in records) else renderer.template_sha256,
        examples=[list(pieces(renderer, row)) for row in _first_rows(sides[0])],
        notes=[],
    )
    summary.notes.extend(_notes(summary))
    return summary


def _first_rows(side: _Side) -> list[RenderedRow]:
    """The first sequence of each of the first samples."""
    starts: list[RenderedRow] = []
    at = 0
    for sample in side.samples[:NUM_EXAMPLES]:
        starts.append(side.rendered[at])
        at += len(sample.rows)
    return starts


def _token_counts(rows: Sequence[RenderedRow]) -> TokenCounts:
    sizes = sorted(len(row.tokens) for row in rows)
    return TokenCounts(
        total=sum(sizes),
        learned=sum(row.num_learned for row in rows),
        longest=sizes[-1],
        median=statistics.median(sizes),
        p95=float(sizes[min(len(sizes) - 1, round(0.95 * (len(sizes) - 1)))]),
    )


def _notes(summary: DataSummary) -> list[str]:
    over, odd, copies = summary.over_length, summary.odd, summary.duplicates
    said = [
        (summary.bad_rows, "{:,} unusable rows were left out"),
        (over["dropped"], "{:,} rows were dropped because they are longer than max_tokens"),
        (over["truncated"], "{:,} rows had their prompt shortened to fit max_tokens"),
        (
            summary.windows["texts"],
            "{:,} long texts are learned in " + f"{summary.windows['windows']:,} windows of max_tokens",
        ),
        (copies["within_train"], "{:,} training rows repeat an earlier one"),
        (
            copies["across_split"],
            "{:,} held-out rows also stand in the training rows, which flatters the held-out loss",
        ),
        (odd["control_text"], "{:,} rows spell a control token in their text; it is encoded as ordinary text"),
        (odd["boundary"], "{:,} rows have an answer that other tools would merge with the template's text before it"),
    ]
    return [words.format(number) for number, words in said if number]
