"""Take out of a training set what evaluation sets ask: runs of words in common, and near copies of their prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from etude.data.check import RowError
from etude.data.inputs import Inputs, Row, open_inputs
from etude.data.sides import Sides, sides_of
from etude.data.work import Ledger, Rows

if TYPE_CHECKING:
    from etude.data.leaks import Leak
    from etude.records import Origin

LEAKS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Decontaminate:
    """Rows that give away an item of an evaluation set, dropped or reported."""

    kind: Literal["decontaminate"] = "decontaminate"
    against: tuple[str, ...] = ()
    """The evaluation sets: data files, or folders of them."""
    ngram: int = 13
    """Words in a row that a row may not have in common with an item; an item with fewer is looked for as a whole."""
    threshold: float = 0.8
    """How alike a row's prompt and an item's may not be: Jaccard index of their sets of 5 characters in a row."""
    leaks: Literal["drop", "report"] = "drop"
    """What happens to rows that give an item away."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found: list[tuple[str, str]] = []
        if not self.against:
            found.append(("against", "must name at least one evaluation set"))
        if not 5 <= self.ngram <= 100:
            found.append(("ngram", f"must be from 5 to 100, got {self.ngram}"))
        if not 0.3 <= self.threshold < 1:
            found.append(("threshold", f"must be from 0.3 up to but below 1, got {self.threshold:g}"))
        return found

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The rows that give nothing away (all of them, where leaks are only reported)."""
        judge = self.judge(rows, ledger)
        for place, row in enumerate(rows.each("writing")):
            leak = judge.leak(place)
            if leak is not None and self.leaks == "drop":
                ledger.drop(row, "leak", **leak)
            else:
                yield row

    def judge(self, rows: Rows, ledger: Ledger) -> Judge:
        """Looks through all rows, and says what was found."""
        from etude.data.leaks import LeakFinder

        reading = replace(rows.inputs.reading.elsewhere(), need_layout=False)
        evaluation = open_inputs(self.against, reading, progress=rows.inputs.progress)
        items, origins = items_of(evaluation)
        finder = LeakFinder(items, ngram=self.ngram, threshold=self.threshold)
        for row in rows.each("looking for leaks"):
            finder.take(_said(row))
        judge = Judge(finder.finish(), origins)
        asked = {leak.item for leak in judge.leaks.values()}
        ledger.notes["leaks"] = {
            "against": evaluation.described(),
            "items": len(items),
            "items_given_away": len(asked),
            "rows": len(judge.leaks),
            "runs_that_do_not_count": finder.num_common,
            "first": [{"row": place, **leak.facts(origins)} for place, leak in sorted(judge.leaks.items())][
                :LEAKS_SHOWN
            ],
        }
        of = f"{len(asked):,} of the {len(items):,} items of {', '.join(self.against)}"
        ledger.says.append(f"{len(judge.leaks):,} rows give away {of}")
        return judge


@dataclass(frozen=True)
class Judge:
    """Which rows give an item away."""

    leaks: dict[int, Leak]
    origins: Sequence[Origin]

    def leak(self, place: int) -> dict[str, object] | None:
        """What the row at that place gives away, and how; None for nothing."""
        leak = self.leaks.get(place)
        return None if leak is None else leak.facts(self.origins)


def items_of(evaluation: Inputs) -> tuple[list[Sides], list[Origin]]:
    """What evaluation sets ask, with where each item stands."""
    items: list[Sides] = []
    origins: list[Origin] = []
    for row in evaluation.each("reading what is asked"):
        if isinstance(row, Row):
            items.append(_said(row))
            origins.append(row.origin)
    return items, origins


def _said(row: Row) -> Sides:
    """The row's sides; of one that training could not use, its wordiest text."""
    try:
        return sides_of(row.records())
    except RowError:
        texts = [text for text in row.columns.values() if isinstance(text, str)]
        return Sides(max(texts, key=lambda text: len(text.split()), default=""), "")
