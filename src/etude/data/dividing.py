"""Which part each row of files goes to: what is noted as rows pass, and how it is decided."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from etude.data.check import RowError
from etude.data.decontaminate import Judge
from etude.data.inputs import OnProgress, Row
from etude.data.near import TextTaker
from etude.data.parts import PARTS
from etude.data.sides import Sides, sides_of
from etude.data.split import assign, assign_by_time, clusters, drawn
from etude.data.work import Ledger
from etude.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from etude.data.divide import Divide

LEFT_OUT = -1
TRAIN = PARTS.index("train")
AUGMENTED = "augmented_from"
"""The column of rows that were made from others: they are for training alone."""
GROUP_BYTES = 8


@dataclass
class Dividing:
    """Takes rows as they pass, then says where they go."""

    options: Divide
    judge: Judge | None
    left_out: dict[int, tuple[str, dict[str, object]]] = field(default_factory=dict)
    """Rows that go nowhere, by their place, with reason and facts."""
    _places: array[int] = field(default_factory=lambda: array("q"))
    _groups: bytearray = field(default_factory=bytearray)
    _strata: array[int] = field(default_factory=lambda: array("q"))
    _names: dict[str, int] = field(default_factory=dict)
    _made: bytearray = field(default_factory=bytearray)
    _times: array[float] = field(default_factory=lambda: array("d"))
    _columns: dict[str, None] = field(default_factory=dict)
    _num_rows: int = 0

    def __post_init__(self) -> None:
        self._texts = TextTaker(self.options.threshold)

    def take(self, place: int, row: Row) -> None:
        """One more row."""
        self._num_rows = place + 1
        self._columns.update(dict.fromkeys(row.columns))
        leak = None if self.judge is None else self.judge.leak(place)
        if leak is not None and self.options.leaks == "drop":
            self.left_out[place] = "leak", leak
            return
        try:
            records = row.records()
            time = 0.0 if self.options.time is None else _time(row.columns.get(self.options.time))
        except RowError as error:
            self.left_out[place] = "unusable", {"found": str(error)}
            return
        said = sides_of(records)
        self._texts.take(said if self.options.same == "both" else Sides(said.prompt, ""))
        self._places.append(place)
        self._made.append(row.columns.get(AUGMENTED) is not None)
        group = records[0].group if self.options.group is None else row.columns.get(self.options.group)
        self._groups += bytes(GROUP_BYTES) if group is None else blake2b(str(group).encode(), digest_size=8).digest()
        stratum = "" if self.options.stratify is None else str(row.columns.get(self.options.stratify))
        self._strata.append(self._names.setdefault(stratum, len(self._names)))
        self._times.append(time)

    def parts(self, ledger: Ledger, on_progress: OnProgress) -> NDArray[np.intp]:
        """The part of each row by its place; LEFT_OUT for those that go nowhere."""
        self._check_columns()
        texts = self._texts.finish()
        near = texts.pairs(self.options.threshold, on_progress)
        prints = texts.prints(np.frombuffer(bytes(self._groups), dtype=np.uint64))
        labels = clusters(prints, near)
        found = np.full(self._num_rows, LEFT_OUT, dtype=np.intp)
        chosen = self._assigned(labels, drawn(labels, prints, self.options.seed))
        found[np.frombuffer(self._places, dtype=np.int64)] = chosen
        for at in np.flatnonzero(np.frombuffer(bytes(self._made), dtype=bool) & (chosen != TRAIN)).tolist():
            self.left_out[self._places[at]] = "made from a row that is not for training", {}
        self._note(labels, chosen, len(near), ledger)
        return found

    def _assigned(self, labels: NDArray[np.intp], order: NDArray[np.intp]) -> NDArray[np.intp]:
        shares, counted = self.options.shares, ~np.frombuffer(bytes(self._made), dtype=bool)
        if self.options.time is not None:
            return assign_by_time(labels, np.frombuffer(self._times, dtype=np.float64), shares)
        if self.options.stratify is None:
            return assign(labels, order, shares, counted=counted)
        by_name = {self._names[name]: rank for rank, name in enumerate(sorted(self._names))}
        ranks = np.array([by_name[code] for code in range(len(by_name))], dtype=np.intp)
        strata = ranks[np.frombuffer(self._strata, dtype=np.int64)]
        return assign(labels, order, shares, strata=strata, counted=counted)

    def _check_columns(self) -> None:
        from difflib import get_close_matches

        for setting in ("group", "stratify", "time"):
            name = getattr(self.options, setting)
            if name is not None and name not in self._columns:
                near = get_close_matches(name, self._columns, n=1)
                listed = f"the columns are {', '.join(list(self._columns)[:20])}"
                remedy = f"did you mean {near[0]!r}?" if near else listed
                raise DataError(f"no row has a column {name!r}", where=f"--{setting}", remedy=remedy)

    def _note(self, labels: NDArray[np.intp], chosen: NDArray[np.intp], num_near: int, ledger: Ledger) -> None:
        sizes = np.bincount(labels)
        counts = np.bincount(chosen, minlength=len(PARTS))
        largest = int(sizes.max())
        ledger.notes["families"] = {"number": len(sizes), "largest": largest, "near_pairs": num_near}
        num = int((sizes > 1).sum())
        kin = f"{num:,} families of rows stay together (copies, near copies, groups), the largest of {largest:,}"
        ledger.says.append(kin)
        for name, share, count in zip(PARTS, self.options.shares, counts.tolist(), strict=True):
            if share and not count:
                remedy = (
                    "take a larger share or more rows; --same both lets rows of one prompt and several answers part"
                )
                raise DataError(f"no row is left for the {name} rows; {kin}", where=f"--{name}", remedy=remedy)


def _time(value: object) -> float:
    """A number as it is, a date and time (ISO 8601) as seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(value.strip()).timestamp()
        except ValueError:
            pass
    raise RowError(f"no time that can be read: {str(value)[:40]!r}")
