"""From what people said to rows that are learned from: pairs or judged answers, their annotators and weights kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from etude.data.check import BadRow, RowError
from etude.data.inputs import Inputs, Row
from etude.errors import DataError, Problems
from etude.feedback.agreement import last_said
from etude.feedback.annotators import votes
from etude.feedback.exports import unfolded
from etude.feedback.heldout import held_out
from etude.feedback.judgements import UNNAMED, Choice, Grade, Judgement, as_plain, choices, grades
from etude.feedback.layouts import Skipped, judgement, mapping, mapping_problems

if TYPE_CHECKING:
    from etude.data.work import Ledger, Rows
    from etude.feedback.agreement import Units
    from etude.feedback.consensus import Consensus

Said = TypeVar("Said", Choice, Grade)
UNUSABLE = "no judgement that can be read"
Aggregate = Literal["none", "majority", "dawid-skene", "bradley-terry"]
Side = Literal["all", "train", "heldout"]


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Human feedback as rows of prompt, chosen and rejected (or completion and label)."""

    kind: Literal["preferences"] = "preferences"
    rows: Literal["auto", "pairs", "judged"] = "auto"
    """pairs: what was put before what; judged: single answers, good or bad; auto: judged where all are thumbs."""
    aggregate: Aggregate = "none"
    """none: a row for each person's word; else a row for each item, weighted by how sure the people together are."""
    least_weight: float = 0.0
    """Aggregated rows that weigh no more than this are left out; those on which people are divided weigh 0."""
    scale: tuple[float, ...] | None = None
    """Lowest and highest rating that could be given, 1 5 for instance; left out: those that were given."""
    leave_out: tuple[str, ...] = ()
    """Annotators whose judgements are not used."""
    holdout: float = 0.2
    """With --heldout: the share of judgements whose annotators are held out."""
    seed: int = 0
    """Of the choice of annotators to hold out."""
    side: Side = "all"
    """Which side of that division is written."""
    columns: tuple[str, ...] = ()
    """A field's column where its name is not one of those looked for: FIELD=COLUMN …"""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        found = []
        if not 0 <= self.least_weight < 1:
            found.append(("least_weight", f"must be from 0 to below 1, got {self.least_weight:g}"))
        if self.scale is not None and (len(self.scale) != 2 or self.scale[0] >= self.scale[1]):
            found.append(("scale", "must be two numbers, the lowest and the highest rating"))
        if not 0 < self.holdout < 1:
            found.append(("holdout", f"must be between 0 and 1, got {self.holdout:g}"))
        if self.least_weight and self.aggregate == "none":
            found.append(("least_weight", "needs an aggregate: without one every row weighs the same"))
        if self.rows == "judged" and self.aggregate == "bradley-terry":
            found.append(("aggregate", "bradley-terry compares answers, and judged rows have single ones"))
        return found + [("columns", wrong) for wrong in mapping_problems(self.columns)]

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The rows to learn from; what says nothing is dropped with its reason."""
        ledger.rewritten = True
        heard, columns = Heard(), mapping(self.columns)
        for row in rows.each("reading judgements"):
            heard.take(row, columns, ledger)
        told = self._side([one for one in heard.judgements if one.annotator not in self.leave_out], ledger)
        if not told:
            return
        if heard.reasons:
            ledger.notes["unusable"] = heard.reasons
        ledger.notes["annotators"] = sorted({one.annotator for one in told})
        judged = self.rows == "judged" or (self.rows == "auto" and all(one.kind == "thumb" for one in told))
        made = _Made(self, heard, ledger)
        yield from made.judged(told) if judged else made.pairs(told)

    def _side(self, told: list[Judgement], ledger: Ledger) -> list[Judgement]:
        if self.side == "all" or not told:
            return told
        train, heldout, left_out = held_out(told, self.holdout, seed=self.seed)
        ledger.notes["left out: their prompts are on the other side"] = len(left_out)
        return train if self.side == "train" else heldout


@dataclass
class Heard:
    """Judgements, and the rows that they came from."""

    judgements: list[Judgement] = field(default_factory=list)
    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    """Of the rows that say nothing, with their places."""

    def take(self, row: Row, columns: Mapping[str, str], ledger: Ledger | None = None) -> None:
        """What one row says, of as many people as it holds the word of."""
        try:
            parts = list(unfolded(row.columns))
        except (TypeError, AttributeError):
            parts = [RowError("an export that cannot be taken apart")]
        self.rows.setdefault((row.origin.path, row.origin.line), row)
        for part in parts:
            try:
                if isinstance(part, RowError):
                    raise part
                self.judgements.append(judgement(part, row.origin, columns))
            except Skipped:
                if ledger is not None:
                    ledger.drop(row, "skipped by the annotator")
            except RowError as error:
                self.reasons.append(f"{row.origin}: {error}")
                if ledger is not None:
                    ledger.drop(row, UNUSABLE, found=str(error))

    def row(self, one: Judgement | Choice | Grade) -> Row:
        """Where a judgement stood."""
        return self.rows[one.origin.path, one.origin.line]


def read_judgements(inputs: Inputs, columns: Mapping[str, str]) -> Heard:
    """All that the files say. Problems where nothing in them can be read."""
    heard = Heard()
    for row in inputs.each("reading judgements"):
        if isinstance(row, BadRow):
            heard.reasons.append(str(row))
        else:
            heard.take(row, columns)
    if not heard.judgements:
        names = ", ".join(file.name for file in inputs.files)
        raise Problems(f"{names}: not one row holds a judgement", heard.reasons[:10])
    return heard


@dataclass(frozen=True)
class _Made:
    """Rows in the making."""

    options: Preferences
    heard: Heard
    ledger: Ledger

    def pairs(self, told: Sequence[Judgement]) -> Iterator[Row]:
        """Rows of prompt, chosen and rejected."""
        low, high = self._bounds(told)
        compared = choices(told, rating_range=high - low or 1.0)
        if not compared:
            raise DataError(
                "nobody put one answer before another: single answers were judged, each to a prompt of its own",
                remedy="write judged rows instead: --rows judged",
            )
        if self.options.aggregate == "none":
            for one in self._last(compared):
                if one.vote:
                    yield self._pair(one, one.vote, margin=one.margin, annotators=[one.annotator])
                else:
                    self.ledger.drop(self.heard.row(one), "a tie")
            return
        items: dict[str, list[Choice]] = defaultdict(list)
        for one in compared:
            items[one.key].append(one)
        units = votes(compared)
        consensus = self._consensus(compared, units)
        for key, each in items.items():
            vote, weight = _decided(consensus.share[key])
            if weight <= self.options.least_weight:
                self.ledger.drop(self.heard.row(each[0]), "people are divided", votes=units[key])
                continue
            margins = [one.margin * one.vote * vote for one in each]
            yield self._pair(
                each[0], vote, margin=max(0.0, sum(margins) / len(margins)), weight=weight,
                annotators=sorted(units[key]), votes={name: value * vote for name, value in units[key].items()},
            )  # fmt: skip

    def judged(self, told: Sequence[Judgement]) -> Iterator[Row]:
        """Rows of prompt, completion and label."""
        low, high = self._bounds(told)
        graded = grades(told)
        if not graded:
            raise DataError("no single answer was judged", remedy="write pairs instead: --rows pairs")
        middle = (low + high) / 2
        if self.options.aggregate == "none":
            for one in self._last(graded):
                value = one.grade if one.is_thumb else one.grade - middle
                if value:
                    yield self._single(one, value > 0, annotators=[one.annotator])
                else:
                    self.ledger.drop(self.heard.row(one), "in the middle of the scale")
            return
        items: dict[str, Grade] = {}
        for one in graded:
            items.setdefault(one.key, one)
        units = last_said((one.key, one.annotator, one.grade - middle * (not one.is_thumb)) for one in graded)
        consensus = self._consensus((), units)
        for key, said in units.items():
            vote, weight = _decided(consensus.share[key])
            if weight <= self.options.least_weight:
                self.ledger.drop(self.heard.row(items[key]), "people are divided", votes=said)
            else:
                yield self._single(items[key], vote > 0, weight=weight, annotators=sorted(said))

    def _last(self, told: Sequence[Said]) -> Iterator[Said]:
        """What was said, of each item only the last word of one person; the unnamed may be many."""
        last = {(one.annotator, one.key): one for one in told}
        for one in told:
            if one.annotator == UNNAMED or last[one.annotator, one.key] is one:
                yield one
            else:
                self.ledger.drop(self.heard.row(one), "judged again later")

    def _consensus(self, compared: Sequence[Choice], units: Units) -> Consensus:
        from etude.feedback.consensus import bradley_terry, dawid_skene, majority

        match self.options.aggregate:
            case "bradley-terry":
                if not compared:
                    raise DataError("bradley-terry compares answers, and these are single", remedy="use dawid-skene")
                found = bradley_terry(compared, units)
            case "dawid-skene":
                found = dawid_skene(units)
            case _:
                found = majority(units)
        if found.reliability:
            self.ledger.notes["reliability"] = {name: round(share, 3) for name, share in found.reliability.items()}
        return found

    def _bounds(self, told: Sequence[Judgement]) -> tuple[float, float]:
        given = [grade for one in told if one.kind == "rating" for grade in one.grades]
        if self.options.scale is not None:
            low, high = self.options.scale
            if given and not low <= min(given) <= max(given) <= high:
                raise DataError(f"ratings go from {min(given):g} to {max(given):g}", remedy="mend the scale")
            return low, high
        if not given:
            return 0.0, 1.0
        self.ledger.notes["scale"] = [min(given), max(given)]
        return min(given), max(given)

    def _pair(self, one: Choice, vote: int, *, margin: float, **more: Any) -> Row:
        chosen, rejected = (one.first, one.second) if vote > 0 else (one.second, one.first)
        held = {"prompt": as_plain(one.prompt, "user"), "chosen": as_plain(chosen), "rejected": as_plain(rejected)}
        margins = {"margin": round(margin, 6)} if margin else {}
        return self.heard.row(one).changed({**held, **margins, **_rounded(more), "group": one.prompt_key})

    def _single(self, one: Grade, is_good: bool, **more: Any) -> Row:
        held = {"prompt": as_plain(one.prompt, "user"), "completion": as_plain(one.answer), "label": is_good}
        return self.heard.row(one).changed({**held, **_rounded(more), "group": one.prompt_key})


def _decided(share: float) -> tuple[int, float]:
    """(1 or -1, weight): twice the distance to one half, so that those who are outvoted take weight away."""
    return (1 if share > 0.5 else -1), round(abs(2 * share - 1), 4)


def _rounded(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(held, 4) if isinstance(held, float) else held for name, held in columns.items()}
