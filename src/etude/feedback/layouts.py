"""From a row of a file to what somebody said: pairs, rankings, ratings, thumbs and edits, by the columns' names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etude.data.check import RowError
from etude.data.columns import Feed, kind_of
from etude.data.convert import convert
from etude.data.detect import ANSWERS, PROMPTS, Layout
from etude.data.rows import Columns, RawRow
from etude.feedback.judgements import UNNAMED, Judgement, Messages
from etude.records import Judged, Origin, Preference

NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": (*PROMPTS, "text", "context"),
    "system": ("system",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "first": ("first", "answer_a", "answer_1", "answer1", "response_a", "response_1", "response1", "completion_a",
              "completion_1", "output_a", "output_1", "text1", "left"),
    "second": ("second", "answer_b", "answer_2", "answer2", "response_b", "response_2", "response2", "completion_b",
               "completion_2", "output_b", "output_2", "text2", "right"),
    "preference": ("preference", "preferred", "choice", "winner", "comparison", "pairwise", "better", "label"),
    "margin": ("margin", "strength"),
    "answers": ("answers", "responses", "completions", "candidates"),
    "ranks": ("ranks", "ranking"),
    "ratings": ("ratings", "scores", "grades"),
    "answer": ANSWERS,
    "rating": ("rating", "score", "grade", "stars", "likert"),
    "thumb": ("thumb", "thumbs", "label", "desirable", "judgement", "feedback"),
    "original": ("original", "original_answer", "before"),
    "edited": ("edited", "edited_answer", "edit", "corrected", "correction", "after"),
    "annotator": ("annotator", "annotator_id", "completed_by", "labeler", "labeller", "rater", "worker", "worker_id",
                  "user_id", "user"),
    "seconds": ("seconds", "lead_time", "duration"),
}  # fmt: skip
"""What a row may say, and the columns in which it is looked for."""
FIRST = frozenset(("1", "a", "first", "left", "model_a", "answer_a", "response_a", "a is better"))
SECOND = frozenset(("2", "b", "second", "right", "model_b", "answer_b", "response_b", "b is better"))
TIES = frozenset(("=", "0", "tie", "tied", "equal", "same", "both", "neither", "draw", "tie (bothbad)"))
SKIPPED = frozenset(("skip", "skipped"))
UP = frozenset(("true", "yes", "up", "thumbs up", "thumbs_up", "good", "like", "positive", "+", "1", "👍"))
DOWN = frozenset(
    ("false", "no", "down", "thumbs down", "thumbs_down", "bad", "dislike", "negative", "-", "-1", "0", "👎")
)
PAIR = Layout("preference", {name: Feed(name) for name in ("prompt", "chosen", "rejected", "system")}, "")
SINGLE = Layout("judged", {name: Feed(name) for name in ("prompt", "completion", "judgement", "system")}, "")


class Skipped(RowError):
    """The annotator passed the item over."""


def mapping(written: Sequence[str]) -> dict[str, str]:
    """`FIELD=COLUMN` texts as a mapping."""
    return {field: column for field, _, column in (one.partition("=") for one in written)}


def mapping_problems(written: Sequence[str]) -> list[str]:
    """What is wrong with such texts."""
    found = [f"{one!r} is not FIELD=COLUMN" for one in written if not all(one.partition("="))]
    unknown = [one.partition("=")[0] for one in written if one.partition("=")[0] not in NAMES]
    return found or [f"unknown field {name!r}; the fields are {', '.join(NAMES)}" for name in unknown]


def judgement(columns: Columns, origin: Origin, mapping: Mapping[str, str] | None = None) -> Judgement:
    """What the row says; `mapping` names a field's column. RowError says why it says nothing, Skipped that it was
    passed over."""
    row = RowView(columns, mapping or {}, origin)
    if columns.get("skipped") in (True, "true", "True"):
        raise Skipped("skipped")
    for read in (_edit, _chosen, _pair, _list, _rating, _thumb):
        found = read(row)
        if found is not None:
            return found
    held = ", ".join(list(columns)[:12])
    raise RowError(
        f"no judgement among the columns {held}: needed are a prompt and chosen + rejected, two answers + preference, "
        "answers + ranks or ratings, an answer + rating or thumb, or original + edited"
    )


@dataclass(frozen=True)
class RowView:
    """A row seen through the names that its columns may have."""

    columns: Columns
    mapping: Mapping[str, str]
    origin: Origin

    def name(self, field: str) -> str | None:
        """The column that says this, if one does."""
        names = (self.mapping[field],) if field in self.mapping else NAMES[field]
        return next((name for name in names if self.columns.get(name) not in (None, "")), None)

    def get(self, field: str) -> object:
        """What it says, or None."""
        name = self.name(field)
        return None if name is None else self.columns[name]

    def pair(self, one: object, other: object) -> tuple[Messages, tuple[Messages, Messages]]:
        """(prompt, both answers), whole chats taken apart where they part."""
        held = {"prompt": self.get("prompt"), "chosen": one, "rejected": other, "system": self.get("system")}
        if one == other:
            raise RowError("both answers are the same")
        (record,) = convert(RawRow(self.origin, held, ""), PAIR)
        assert isinstance(record, Preference)
        return record.prompt, (record.chosen, record.rejected)

    def single(self, answer: object) -> tuple[Messages, Messages]:
        """(prompt, answer)."""
        held = {"prompt": self.get("prompt"), "completion": answer, "judgement": True, "system": self.get("system")}
        (record,) = convert(RawRow(self.origin, held, ""), SINGLE)
        assert isinstance(record, Judged)
        return record.prompt, record.answer

    @property
    def annotator(self) -> str:
        held = self.get("annotator")
        if isinstance(held, Mapping):
            held = held.get("email") or held.get("username") or held.get("id")
        return UNNAMED if held is None else str(held)

    @property
    def seconds(self) -> float | None:
        held = self.get("seconds")
        found = None if held is None else number(held, "seconds")
        return found if found is None or found >= 0 else None


def _edit(row: RowView) -> Judgement | None:
    edited, original = row.get("edited"), row.get("original")
    if edited is None or original is None:
        return None
    if edited == original:
        raise RowError("the edit changed nothing")
    prompt, answers = row.pair(edited, original)
    return Judgement("edit", prompt, answers, (1.0, 0.0), row.origin, row.annotator, seconds=row.seconds)


def _chosen(row: RowView) -> Judgement | None:
    if row.get("chosen") is None or row.get("rejected") is None:
        return None
    prompt, answers = row.pair(row.get("chosen"), row.get("rejected"))
    margin = row.get("margin")
    return Judgement(
        "choice", prompt, answers, (1.0, 0.0), row.origin, row.annotator,
        margin=None if margin is None else number(margin, "margin"), seconds=row.seconds,
    )  # fmt: skip


def _pair(row: RowView) -> Judgement | None:
    first, second, preference = row.get("first"), row.get("second"), row.get("preference")
    if first is None or second is None or preference is None:
        return None
    vote = preferred(preference, str(row.name("first")), str(row.name("second")))
    prompt, answers = row.pair(first, second)
    margin = row.get("margin")
    return Judgement(
        "choice", prompt, answers, (float(vote > 0), float(vote < 0)), row.origin, row.annotator,
        margin=None if margin is None else abs(number(margin, "margin")), seconds=row.seconds, order_known=True,
    )  # fmt: skip


def preferred(held: object, first: str = "first", second: str = "second") -> int:
    """1: the first of two, -1: the second, 0: a tie; the columns' own names are understood too."""
    said = str(held).strip().lower() if isinstance(held, str | int | float) else ""
    if said in SKIPPED:
        raise Skipped("skipped")
    said = said.removesuffix(".0")
    if said == first.lower() or said in FIRST:
        return 1
    if said == second.lower() or said in SECOND:
        return -1
    if said in TIES:
        return 0
    raise RowError(
        f"preference is {str(held)[:40]!r}; understood are 1, 2 and =, a, b and tie, left and right, {first}, {second}"
    )


def _list(row: RowView) -> Judgement | None:
    answers, ranks, ratings = (listed(row.get(name)) for name in ("answers", "ranks", "ratings"))
    if answers is None or (ranks is None and ratings is None):
        return None
    told, name = (ratings, "ratings") if ranks is None else (ranks, "ranks")
    assert told is not None
    if len(told) != len(answers):
        raise RowError(f"{len(answers)} answers, but {len(told)} {name}")
    if not answers:
        raise RowError("answers is empty")
    parts = [row.single(answer) for answer in answers]
    sign = 1.0 if ranks is None else -1.0
    grades = tuple(sign * number(one, name) for one in told)
    return Judgement(
        "rating" if ranks is None else "ranking", parts[0][0], tuple(answer for _, answer in parts), grades,
        row.origin, row.annotator, seconds=row.seconds,
    )  # fmt: skip


def _rating(row: RowView) -> Judgement | None:
    answer, rating = row.get("answer"), row.get("rating")
    if answer is None or rating is None:
        return None
    prompt, said = row.single(answer)
    grade = number(rating, str(row.name("rating")))
    return Judgement("rating", prompt, (said,), (grade,), row.origin, row.annotator, seconds=row.seconds)


def _thumb(row: RowView) -> Judgement | None:
    answer, thumb = row.get("answer"), row.get("thumb")
    if answer is None or thumb is None:
        return None
    said = str(thumb).strip().lower().removesuffix(".0")
    if said in SKIPPED:
        raise Skipped("skipped")
    if said not in UP | DOWN:
        raise RowError(
            f"{row.name('thumb')} is {str(thumb)[:40]!r}; understood are true and false, up and down, 1 and 0"
        )
    prompt, text = row.single(answer)
    grade = 1.0 if said in UP else -1.0
    return Judgement("thumb", prompt, (text,), (grade,), row.origin, row.annotator, seconds=row.seconds)


def number(held: object, name: str) -> float:
    """A finite number, as JSON or as a table's cell holds it; RowError if it is none."""
    try:
        found = float(held)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        shown = repr(held[:40]) if isinstance(held, str) else kind_of(held)
        raise RowError(f"{name} holds {shown}, not a number") from None
    if isinstance(held, bool) or not math.isfinite(found):
        raise RowError(f"{name} is {held}, not a number")
    return found


def listed(held: object) -> Sequence[object] | None:
    """A list, in a table's cell as JSON text."""
    if isinstance(held, str) and held.lstrip().startswith("["):
        try:
            held = json.loads(held)
        except ValueError as error:
            raise RowError(f"a list is not valid JSON: {error}") from None
    return held if isinstance(held, list) else None
