"""New rows on their way: planned from each given one, worded by rules or by a model, checked, written after it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from etude.data.augmentation.by_model import reworded, translated_back
from etude.data.augmentation.checking import Checks, Reworded, checks
from etude.data.augmentation.methods import BY_MODEL
from etude.data.augmentation.noise import noised
from etude.data.augmentation.paraphrase import paraphrased
from etude.data.augmentation.same_label import Learning
from etude.data.augmentation.texts import Request, replaced, request_of, spans_of, text_at
from etude.data.check import RowError
from etude.errors import DataError

if TYPE_CHECKING:
    from etude.data.augment import Augment
    from etude.data.augmentation.methods import Method
    from etude.data.inputs import Row
    from etude.data.work import Ledger, Rows

MOST_VALUES = 5_000
"""Values of one field that are kept for swaps."""
BATCH = 64
NOTHING_NEW = "nothing new"
LOST = "a value was lost"
NO_ANSWER = "no whole answer"
NEVER_ASKED = "the budget was spent"


@dataclass
class _Survey:
    """What the rows have in common."""

    start: str | None = None
    """With which words all requests begin: an instruction, which stays."""
    values: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    """What each field of JSON answers holds, by scope and field."""
    answers: Counter[bytes] = field(default_factory=Counter)
    known: set[bytes] = field(default_factory=set)
    """Every request that there is, by hash: a made row that repeats one would tie two rows together."""

    def take(self, request: Request) -> None:
        """One more row."""
        self.start = request.prompt if self.start is None else _common(self.start, request.prompt)
        self.known.add(_hashed(_normal(request.prompt)))
        for name, value in request.slots.items():
            held = self.values.setdefault((request.scope, name), {})
            if len(held) < MOST_VALUES:
                held[value] = None
        self.answers[_hashed(request.answer)] += 1


@dataclass(frozen=True)
class _Made:
    """A request in other words on its way to becoming a row."""

    method: Method
    row: Row
    request: Request
    text: str
    answers: tuple[tuple[str, str], ...] = ()
    """Values of the answer that change with it, before and after."""
    head: str = ""
    """What all requests begin with, where `text` is only what a model is given of it."""


_Planned = tuple["Row", list[_Made]]
"""A row, and what is to be made from it."""


def augmented(rows: Rows, ledger: Ledger, options: Augment) -> Iterator[Row]:
    """The given rows, and after each the rows made from it; models are those of `rows`.

    A made row that equals its parent or one of its siblings is not kept, nor is a model's wording that fails a check.

    Raises:
        DataError: a model's method and no model, or settings of a judge or an embedding model and none.
    """
    _refuse_without_models(rows, options)
    learning = Learning(options.seed) if options.uses_model and options.same_label else None
    survey = _Survey()
    for row in rows.each("looking for what requests share"):
        request = _request(row)
        if request is not None:
            survey.take(request)
            if learning is not None:
                learning.take(row)
    passing = None
    if options.uses_model:
        assert rows.asked is not None
        passing = checks(options, rows.asked, None if learning is None else learning.finish(rows.embed))
    writing = _Writing(survey, ledger, options, passing)
    counts = _Counts(max(survey.answers.values(), default=0), Counter(survey.answers))
    batch: list[_Planned] = []
    for row in rows.each("augmenting"):
        request = _request(row)
        number = 0 if request is None else counts.wanted(request, options)
        if request is None:
            ledger.changed("left alone: no request to change")
        batch.append((row, [] if request is None else _plan(row, request, survey, options, number)))
        if len(batch) >= BATCH:
            yield from writing.rows(batch)
            batch = []
    yield from writing.rows(batch)
    if passing is not None:
        passing.note(ledger)


def _refuse_without_models(rows: Rows, options: Augment) -> None:
    if options.uses_model and rows.asked is None:
        raise DataError("needs a model that writes", where="methods", remedy="name one with --model")
    for name in ("least_score", "judge_template"):
        if getattr(options, name) is not None and (rows.asked is None or rows.asked.judge is None):
            raise DataError("needs a judge", where=name, remedy="name one with --judge")
    if options.embedder is not None and rows.embed is None:
        raise DataError("no embedding model was opened", where="embedder", remedy="give `work` the model's `embed`")


@dataclass
class _Counts:
    """How many rows each answer still lacks."""

    most: int
    now: Counter[bytes]

    def wanted(self, request: Request, options: Augment) -> int:
        if not options.balance:
            return options.copies
        name = _hashed(request.answer)
        number = min(options.copies, self.most - self.now[name])
        self.now[name] += number
        return number


def _request(row: Row) -> Request | None:
    """None for rows that cannot be read, and for those that were made from others: they have no children."""
    if row.columns.get("augmented_from") is not None:
        return None
    try:
        return request_of(row)
    except RowError:
        return None


def _plan(row: Row, request: Request, survey: _Survey, options: Augment, number: int) -> list[_Made]:
    made = []
    for copy in range(number):
        method = options.methods[copy % len(options.methods)]
        dice = Random(f"{options.seed}/{_hashed(request.prompt).hex()}/{copy}")
        made.append(_changed(method, row, request, survey, options, dice))
    return made


def _changed(method: Method, row: Row, request: Request, survey: _Survey, options: Augment, dice: Random) -> _Made:
    fixed = survey.start or ""
    at = 0 if fixed == request.prompt else len(fixed[: fixed.rfind(" ") + 1] if fixed[-1:].isalnum() else fixed)
    head, text = request.prompt[:at], request.prompt[at:]
    kept = [span for value in (*request.slots.values(), request.answer) if value for span in spans_of(value, text)]
    if method == "noise":
        return _Made(method, row, request, head + noised(text, dice, strength=options.strength, kept=kept))
    if method == "paraphrase":
        return _Made(method, row, request, head + paraphrased(text, dice))
    if method == "swap":
        return _swapped(row, request, survey, dice)
    return _Made(method, row, request, text, head=head)


def _swapped(row: Row, request: Request, survey: _Survey, dice: Random) -> _Made:
    """Other values of the same fields, in request and answer alike."""
    text, pairs = request.prompt, []
    for name, value in request.slots.items():
        others = [
            other for other in survey.values.get((request.scope, name), ()) if other.casefold() != value.casefold()
        ]
        spans = spans_of(value, text)
        if others and len(spans) == 1:
            other = dice.choice(others)
            text = text[: spans[0][0]] + other + text[spans[0][1] :]
            pairs.append((value, other))
    return _Made("swap", row, request, text, tuple(pairs))


@dataclass(frozen=True)
class _Writing:
    """Turns what was planned into rows."""

    survey: _Survey
    ledger: Ledger
    options: Augment
    checks: Checks | None
    """Of a model's wordings; None where no model writes."""

    def rows(self, batch: Sequence[_Planned]) -> Iterator[Row]:
        """Each row, and after it those of its children that are new and pass."""
        children = iter(self._children([made for _, planned in batch for made in planned]))
        for row, planned in batch:
            kept = [child for child in islice(children, len(planned)) if child is not None]
            yield row if not kept else row.changed({**row.columns, "group": _group(row)})
            yield from kept

    def _children(self, planned: Sequence[_Made]) -> list[Row | None]:
        """A row for each; None for those that are not made, or fail."""
        texts = self._new(planned)
        made = [
            None if text is None else _child(one, text, self.options) for one, text in zip(planned, texts, strict=True)
        ]
        self._check(planned, texts, made)
        for one, row in zip(planned, made, strict=True):
            if row is not None:
                self.ledger.changed(f"made by {one.method}")
        return made

    def _new(self, planned: Sequence[_Made]) -> list[str | None]:
        """The requests that say something new and have lost no value of the answer."""
        found: list[str | None] = []
        for one, text in zip(planned, self._texts(planned), strict=True):
            why = self._refused(one, text)
            if why is None and text is not None:
                self.survey.known.add(_hashed(_normal(text)))
            else:
                self.ledger.changed(f"not made by {one.method}: {why}")
            found.append(text if why is None else None)
        return found

    def _refused(self, one: _Made, text: str | None) -> str | None:
        if text is None:
            return NEVER_ASKED
        if not text:
            return NO_ANSWER
        if one.method != "swap" and any(value not in text for value in one.request.slots.values()):
            return LOST
        return NOTHING_NEW if _hashed(_normal(text)) in self.survey.known else None

    def _texts(self, planned: Sequence[_Made]) -> list[str | None]:
        """Each whole request; empty where a model gave none, None where nothing more could be asked."""
        if self.checks is None:
            return [one.text for one in planned]
        asked, options = self.checks.asked, self.options
        model, back = ([one.text for one in planned if one.method == method] for method in BY_MODEL)
        told = {
            "model": iter(reworded(model, asked)),
            "back-translation": iter(translated_back(back, asked, language=options.language, through=options.through)),
        }
        texts = [next(told[one.method]) if one.method in told else one.text for one in planned]
        return [f"{one.head}{text}" if text else text for one, text in zip(planned, texts, strict=True)]

    def _check(self, planned: Sequence[_Made], texts: Sequence[str | None], made: list[Row | None]) -> None:
        """A model's rows that fail leave `made`; the others say what the checks found."""
        if self.checks is None:
            return
        given: dict[int, Reworded] = {}
        for place, (one, text, row) in enumerate(zip(planned, texts, made, strict=True)):
            if one.method in BY_MODEL and text is not None and row is not None:
                given[place] = Reworded(one.row.origin, row, one.request.prompt, text, one.request.answer)
        verdicts = self.checks.verdicts(list(given.values()))
        for (place, asked), (verdict, facts) in zip(given.items(), verdicts, strict=True):
            if verdict is None:
                made[place] = _child(planned[place], asked.wording, self.options, facts)
                continue
            reason, said = verdict
            self.ledger.drop(asked.row, reason, **said)
            self.survey.known.discard(_hashed(_normal(asked.wording)))
            made[place] = None


def _child(made: _Made, text: str, options: Augment, facts: Mapping[str, object] | None = None) -> Row:
    """The parent's columns with the new request and its answer, where the row comes from and what checks found."""
    request, columns = made.request, made.row.columns
    texts = {}
    for path in request.places:
        before = text_at(columns, path)
        texts[path] = text if before == request.prompt else _part(request.prompt, text, before)
    for path in request.answers:
        texts[path] = _answered(text_at(columns, path), made.answers)
    changed = replaced(columns, texts)
    assert isinstance(changed, dict)
    said = {"method": made.method, "seed": options.seed, **(facts or {})}
    origin = str(made.row.origin)
    return made.row.changed({**changed, "group": _group(made.row), "augmented_from": origin, "augmentation": said})


def _part(prompt: str, text: str, before: str) -> str:
    """The part of a templated request that one column holds."""
    at = prompt.index(before)
    tail = len(prompt) - at - len(before)
    return text[at : len(text) - tail]


def _answered(answer: str, pairs: Sequence[tuple[str, str]]) -> str:
    """The answer with other values, as JSON text where they stand in one."""
    for before, after in pairs:
        for escaped in (False, True):
            old, new = (json.dumps(value, ensure_ascii=escaped) for value in (before, after))
            answer = answer.replace(old, new)
    return answer


def _common(one: str, other: str) -> str:
    """With which characters both begin."""
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:at]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _group(row: Row) -> str:
    held = row.columns.get("group")
    return str(row.origin) if held is None else str(held)


def _hashed(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]
