"""Which rows are copies of which: each one that goes names the one that stays and how alike they are."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from etude.data.audit.vectors import Embed
from etude.data.inputs import OnProgress
from etude.data.meaning import meant_alike
from etude.data.near import TakenTexts, TextTaker
from etude.data.sides import Sides
from etude.records import Origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE = -1


@dataclass
class Origins:
    """Where very many rows stand, in 12 bytes each."""

    _names: dict[str, int] = field(default_factory=dict)
    _files: array[int] = field(default_factory=lambda: array("i"))
    _lines: array[int] = field(default_factory=lambda: array("q"))

    def take(self, origin: Origin) -> None:
        """One more row."""
        self._files.append(self._names.setdefault(origin.path, len(self._names)))
        self._lines.append(origin.line)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, row: int) -> Origin:
        return Origin(list(self._names)[self._files[row]], self._lines[row])


@dataclass(frozen=True)
class Found:
    """What is known of each row, by its place among the rows that were taken."""

    origins: Origins
    copy_of: NDArray[np.int64]
    """The row that stays in its place; NONE for rows that stay themselves."""
    alike: NDArray[np.float32]
    """How alike it is to that row: 1 for equal ones."""
    conflict_with: NDArray[np.int64]
    """A row that stays and has (nearly) the same prompt and another answer; NONE where there is none."""
    by_meaning: frozenset[int] = frozenset()
    """Rows that go because they say the same in other words; how alike they are is a cosine."""

    def verdict(self, row: int, *, drop_conflicts: bool) -> tuple[str, dict[str, object]] | None:
        """Why the row goes, as a reason and facts; None if it stays."""
        other = int(self.copy_of[row])
        if other != NONE:
            alike = round(float(self.alike[row]), 3)
            reason = "same in other words" if row in self.by_meaning else "copy" if alike == 1 else "near copy"
            return reason, {"of": str(self.origins[other]), "alike": alike}
        other = int(self.conflict_with[row])
        if drop_conflicts and other != NONE:
            return "conflicting answer", {"with": str(self.origins[other])}
        return None

    def conflicts(self, most: int) -> dict[str, Any]:
        """How many rows that stay contradict another one, and the first ones with one that they contradict."""
        rows = np.flatnonzero(self.conflict_with != NONE)
        first = [[str(self.origins[row]), str(self.origins[self.conflict_with[row]])] for row in rows[:most].tolist()]
        return {"rows": len(rows), "first": first}


@dataclass
class CopyFinder:
    """Takes rows as they pass, then says which are copies. Memory: about 180 bytes a row, 440 while it ends."""

    threshold: float | None
    """How alike near copies are; None: only equal rows are looked for."""
    keep: Literal["first", "longest"] = "first"
    meaning: float | None = None
    """How alike rows are that say the same in other words (cosine); None: they are not looked for."""
    embed: Embed | None = None
    _texts: TextTaker = field(init=False)
    _origins: Origins = field(default_factory=Origins)

    def __post_init__(self) -> None:
        self._texts = TextTaker(self.threshold)

    def take(self, said: Sides, origin: Origin) -> None:
        """One more row."""
        self._texts.take(said)
        self._origins.take(origin)

    def finish(self, on_progress: OnProgress | None = None) -> Found:
        """Which are copies of which."""
        texts = self._texts.finish()
        number = len(texts)
        deciding = _Deciding(texts, np.full(number, NONE, dtype=np.int64), np.ones(number, dtype=np.float32))
        sizes = texts.lengths() if self.keep == "longest" else np.zeros(number, dtype=np.int64)
        preferred = np.argsort(-sizes, kind="stable")
        deciding.equal_ones(preferred)
        if self.threshold is not None:
            deciding.near_ones(preferred[deciding.copy_of[preferred] == NONE], self.threshold, on_progress)
        by_meaning: set[int] = set()
        if self.meaning is not None and self.embed is not None:
            left = preferred[deciding.copy_of[preferred] == NONE]
            by_meaning = deciding.meant_ones(left, self.embed, self.meaning, on_progress)
        return Found(
            self._origins, deciding.copy_of, deciding.alike, deciding.conflict_with(), frozenset(by_meaning)
        )  # fmt: skip


@dataclass
class _Deciding:
    texts: TakenTexts
    copy_of: NDArray[np.int64]
    alike: NDArray[np.float32]
    conflicts: list[tuple[int, int]] = field(default_factory=list)

    def equal_ones(self, preferred: NDArray[np.intp]) -> None:
        """Of rows that are equal the most preferred one stays."""
        labels = self.texts.labels()[preferred]
        _, first, place = np.unique(labels, return_index=True, return_inverse=True)
        stays = preferred[first[place]]
        goes = stays != preferred
        self.copy_of[preferred[goes]] = stays[goes]

    def near_ones(self, preferred: NDArray[np.intp], threshold: float, on_progress: OnProgress | None) -> None:
        """A row goes if a more preferred one that stays is alike."""
        for pairs, found in self.texts.compared(preferred, on_progress=on_progress):
            for (earlier, later), (prompts, answers) in zip(pairs.tolist(), found.tolist(), strict=True):
                if prompts < threshold:
                    continue
                if answers < threshold:
                    self.conflicts.append((earlier, later))
                elif self.copy_of[later] == NONE:
                    self._drop(later, earlier, min(prompts, answers), threshold)

    def meant_ones(
        self, preferred: NDArray[np.intp], embed: Embed, threshold: float, on_progress: OnProgress | None
    ) -> set[int]:
        """The rows that go because a more preferred one that stays says the same in other words."""
        said = [self.texts.text(row) for row in preferred.tolist()]
        gone: set[int] = set()
        for earlier, later, cosine in meant_alike(said, embed, threshold, on_progress):
            one, other = int(preferred[earlier]), int(preferred[later])
            if one in gone or (other in gone and cosine <= self.alike[other]):
                continue
            gone.add(other)
            self.copy_of[other], self.alike[other] = one, cosine
        moved = np.flatnonzero(self.copy_of != NONE)
        self.copy_of[moved] = [self._staying(row) for row in self.copy_of[moved].tolist()]
        return gone

    def _staying(self, row: int) -> int:
        """The row that stays in the place of one that may have gone."""
        while self.copy_of[row] != NONE:
            row = int(self.copy_of[row])
        return row

    def _drop(self, row: int, other: int, alike: float, threshold: float) -> None:
        stays = int(self.copy_of[other])
        if stays != NONE:  # alike to one that went: it goes too if it is alike to the one that stays
            other = stays
            alike = float(self.texts.similarities(np.array([[other, row]])).min())
        if alike >= threshold:
            self.copy_of[row], self.alike[row] = other, alike

    def conflict_with(self) -> NDArray[np.int64]:
        """For each row that stays, one that stays too and contradicts it."""
        found = np.full(len(self.texts), NONE, dtype=np.int64)
        stays = np.flatnonzero(self.copy_of == NONE)
        labels = self.texts.labels(prompts_only=True)[stays]
        _, first, place, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
        rows = np.flatnonzero(counts[place] > 1)
        for at in rows.tolist():
            one, other = int(stays[first[place[at]]]), int(stays[at])
            if one != other:
                self.conflicts.append((one, other))
        for pair in self.conflicts:
            one, other = (row if self.copy_of[row] == NONE else int(self.copy_of[row]) for row in pair)
            for row, against in ((one, other), (other, one)):
                if found[row] == NONE and row != against:
                    found[row] = against
        return found
