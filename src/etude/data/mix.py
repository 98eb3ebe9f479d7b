"""Mix sources in given shares, and general data in between, which keeps a model from forgetting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import chain, compress
from typing import Any, Literal

from etude.data.check import RowError
from etude.data.inputs import ROWS_BETWEEN_REPORTS, Row, open_inputs
from etude.data.work import Ledger, Rows
from etude.data.write import columns_for
from etude.errors import DataError, Problems

KINDS = {"messages": "chats", "sharegpt": "chats", "alpaca": "chats", "prompt-completion": "chats"}
"""Layouts whose rows can be written as messages; every other one is a kind of its own."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Rows of several sources in the shares that are asked for, evenly interleaved."""

    kind: Literal["mix"] = "mix"
    others: tuple[str, ...] = ()
    """More sources beside the files that are given: data files, folders, or hub data sets' names."""
    weights: tuple[float, ...] = ()
    """One for each source, in their order: shares are as the weights. When left out they follow the sources' sizes."""
    temperature: float = 1.0
    """Without weights: shares are as size ** (1 / temperature). 1: as the sizes; the higher, the more alike."""
    rows: int | None = None
    """How many rows to write. When left out: as many as the shares allow without repeating a row (with `upsample`:
    without leaving one out)."""
    upsample: bool = False
    """Repeat rows of sources that are too small for their share."""
    replay: tuple[str, ...] = ()
    """Sources of general data, of which `replay_share` is mixed in."""
    replay_share: float = 0.1
    """Share of the result that is general data, where `replay` names some."""
    tag: str | None = None
    """A column to add that names each row's source."""
    seed: int = 0
    """Draws which rows are taken of a source that is not taken whole."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if any(not weight > 0 for weight in self.weights):
            found.append(("weights", "must all be above 0"))
        if not self.temperature >= 1:
            found.append(("temperature", f"must be at least 1, got {self.temperature:g}"))
        if self.weights and self.temperature != 1:
            found.append(("temperature", "means nothing where weights are given; leave one out"))
        if self.rows is not None and self.rows < 1:
            found.append(("rows", f"must be at least 1, got {self.rows}"))
        if not 0 < self.replay_share < 1:
            found.append(("replay_share", f"must be above 0 and below 1, got {self.replay_share:g}"))
        return found

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The mixture."""
        sources = self._sources(rows)
        rewrite = _must_rewrite(sources)
        ledger.rewritten = rewrite
        sizes = [source.count(rewrite, ledger) for source in sources]
        wanted = self._wanted(sources, sizes)
        ledger.notes["sources"] = list(map(_described, sources, sizes, wanted))
        ledger.says.extend(_table(ledger.notes["sources"]))
        drawn = [
            source.drawn(number, size, seed=[self.seed, at], rewrite=rewrite)
            for at, (source, number, size) in enumerate(zip(sources, wanted, sizes, strict=True))
        ]
        total = sum(wanted)
        with rows.progress("mixing") as on_progress:
            for done, at in enumerate(interleaved(wanted), start=1):
                row = next(drawn[at])
                yield row if self.tag is None else row.changed({**row.columns, self.tag: sources[at].name})
                if not done % ROWS_BETWEEN_REPORTS or done == total:
                    on_progress(done, total)

    def _sources(self, rows: Rows) -> list[Source]:
        """The files that were given, each or each folder of them a source; then the others."""
        inputs = rows.inputs
        names = dict.fromkeys(file.given for file in inputs.files)
        parts = {name: tuple(file for file in inputs.files if file.given == name) for name in names}
        found = [Source(name, rows.part(files)) for name, files in parts.items()]
        for name in (*self.others, *self.replay):
            opened = open_inputs([name], inputs.reading.elsewhere(), progress=inputs.progress)
            found.append(Source(name, rows.part(opened.files), is_replay=name in self.replay))
        return found

    def _wanted(self, sources: Sequence[Source], sizes: Sequence[int]) -> list[int]:
        """How many rows of each source."""
        main = [size for source, size in zip(sources, sizes, strict=True) if not source.is_replay]
        if self.weights and len(self.weights) != len(main):
            names = ", ".join(source.name for source in sources[: len(main)])
            found = f"{len(self.weights)} weights for {len(main)} sources"
            raise DataError(found, where="weights", remedy=f"give one each, in this order: {names}")
        parts = self.weights or [size ** (1 / self.temperature) for size in main]
        shares = [part / sum(parts) for part in parts]
        general = self.replay_share if self.replay else 0.0
        total = self.rows
        if total is None:
            limit = max if self.upsample else min
            total = round(limit(size / share for size, share in zip(main, shares, strict=True)) / (1 - general))
        replayed = sizes[len(main) :]
        shares = [share * (1 - general) for share in shares] + [size / sum(replayed) * general for size in replayed]
        wanted = rounded([share * total for share in shares], total)
        if not self.upsample:
            if self.rows is None:
                wanted[: len(main)] = map(min, wanted, main)
            self._refuse_repeats(sources, sizes, wanted)
        return wanted

    def _refuse_repeats(self, sources: Sequence[Source], sizes: Sequence[int], wanted: Sequence[int]) -> None:
        short = [
            f"{source.name}: {number:,} rows are wanted, and it has {size:,}"
            for source, size, number in zip(sources, sizes, wanted, strict=True)
            if number > size
        ]
        if short:
            most = min(size / number for size, number in zip(sizes, wanted, strict=True) if number)
            fits = int(sum(wanted) * most)
            raise Problems(
                "sources are too small for their shares", [*short, f"ask for {fits:,} rows at most, or add upsample"]
            )


@dataclass(frozen=True)
class Source:
    """Rows of one source, as often as needed."""

    name: str
    rows: Rows
    is_replay: bool = False

    def count(self, rewrite: bool, ledger: Ledger) -> int:
        """How many of its rows can be mixed in; the others are dropped."""
        number = 0
        for row in self.rows.each(f"counting {self.name}"):
            try:
                number += len(row.records()) if rewrite else 1
            except RowError as error:
                ledger.drop(row, "unusable", found=str(error))
        if not number:
            raise DataError("not one of its rows can be used", where=self.name, remedy="leave it out")
        return number

    def drawn(self, number: int, size: int, *, seed: Sequence[int], rewrite: bool) -> Iterator[Row]:
        """So many of its rows in their order: all of them as often as they fit, then drawn ones."""
        import numpy as np

        repeats, rest = divmod(number, size)
        is_drawn = np.zeros(size, dtype=bool)
        is_drawn[np.random.default_rng(seed).permutation(size)[:rest]] = True
        for _ in range(repeats):
            yield from self._each(rewrite)
        yield from compress(self._each(rewrite), is_drawn)

    def _each(self, rewrite: bool) -> Iterator[Row]:
        for row in chain.from_iterable(self.rows.inputs.files):
            if isinstance(row, Row):
                yield from _rewritten(row) if rewrite else (row,)


def interleaved(wanted: Sequence[int]) -> Iterator[int]:
    """Which source comes next, so that every stretch has about the shares of the whole."""
    turns = [(0.5 / number, at, 1) for at, number in enumerate(wanted) if number]
    heapify(turns)
    while turns:
        _, at, done = turns[0]
        yield at
        if done < wanted[at]:
            heapreplace(turns, ((done + 0.5) / wanted[at], at, done + 1))
        else:
            heappop(turns)


def rounded(numbers: Sequence[float], total: int) -> list[int]:
    """Whole numbers that make up `total`, each next to its own."""
    found = [int(number) for number in numbers]
    by_rest = sorted(range(len(numbers)), key=lambda at: found[at] - numbers[at])
    for at in by_rest[: total - sum(found)]:
        found[at] += 1
    return found


def _rewritten(row: Row) -> Iterator[Row]:
    """The row's records, a row each."""
    with suppress(RowError):
        yield from (row.changed(columns_for(record)) for record in row.records())


def _must_rewrite(sources: Sequence[Source]) -> bool:
    """Whether rows have to be written anew so that one layout fits them all.

    DataError where the layouts hold different kinds of rows.
    """
    files = [file for source in sources for file in source.rows.inputs.files]
    layouts = {(file.layout.format, repr(dict(file.layout.feeds))) for file in files if file.layout is not None}
    kinds = {KINDS.get(form, form): form for form, _ in layouts}
    if len(kinds) > 1:
        found = f"the sources hold different kinds of rows: {', '.join(sorted(kinds.values()))}"
        raise DataError(found, where="mix", remedy="train on one kind, or in stages")
    return len(layouts) > 1


def _described(source: Source, size: int, taken: int) -> dict[str, Any]:
    files = [{"path": file.name, "sha256": file.sha256} for file in source.rows.inputs.files]
    return {"name": source.name, "files": files, "replay": source.is_replay, "rows": size, "taken": taken}


def _table(sources: Sequence[dict[str, Any]]) -> Iterator[str]:
    total = sum(source["taken"] for source in sources)
    width = max(len(source["name"]) for source in sources)
    yield f"{'source':<{width}}  {'rows':>9}  {'taken':>9}  {'share':>6}  {'times':>5}"
    for each in sources:
        counts = f"{each['rows']:>9,}  {each['taken']:>9,}  {each['taken'] / total:>6.1%}"
        kind = "  (general data)" if each["replay"] else ""
        yield f"{each['name']:<{width}}  {counts}  {each['taken'] / each['rows']:>5.2f}{kind}"
