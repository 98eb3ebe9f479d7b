"""New rows from given ones, whose answers are known to be right: the request changes, and the answer only with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Literal

from etude.data.check import RowError

if TYPE_CHECKING:
    from etude.data.augmentation.texts import Request
    from etude.data.inputs import Row
    from etude.data.work import Ledger, Rows

Method = Literal["noise", "paraphrase", "swap", "model", "back-translation"]
Generate = Callable[[list[str]], list[str]]
"""What writes texts from prompts: a local model or an endpoint."""
BY_MODEL = ("model", "back-translation")
MOST_VALUES = 5_000
"""Values of one field that are kept for swaps."""
BATCH = 64
REWRITE = "Say this in other words. Keep every name, number and detail. Answer with the new wording only.\n\n{text}"
TRANSLATE = "Translate into {language}. Answer with the translation only.\n\n{text}"


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Each row, and after it the rows made from it, which name it and are never held out."""

    kind: Literal["augment"] = "augment"
    methods: tuple[Method, ...] = ("noise", "paraphrase", "swap")
    """How rows are made, one after the other: typing mistakes, rules of paraphrase, swapped slot values, a model."""
    copies: int = 1
    """Rows made from each row."""
    balance: bool = False
    """Make rows of rarer answers only, up to `copies` from a row, until they are as frequent as the commonest."""
    strength: float = 0.1
    """Share of a request's longer words that `noise` mistypes."""
    language: str = "English"
    """The rows' own, into which `back-translation` translates back."""
    through: str = "French"
    """The language through which it goes."""
    seed: int = 0
    """What the choices are drawn from."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        found = []
        if not self.methods:
            found.append(("methods", "none is named"))
        if self.copies < 1:
            found.append(("copies", f"must be at least 1, got {self.copies}"))
        if not 0 < self.strength <= 1:
            found.append(("strength", f"must be above 0 and at most 1, got {self.strength:g}"))
        if self.language.strip().casefold() == self.through.strip().casefold():
            found.append(("through", f"is the rows' own language, {self.language}"))
        return found

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The given rows and those made from them."""
        return augmented(rows, ledger, self, rows.generate)


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


def augmented(rows: Rows, ledger: Ledger, options: Augment, generate: Generate | None = None) -> Iterator[Row]:
    """The given rows, and after each the rows made from it; `generate` is needed for the methods that take a model.

    A made row that equals its parent or one of its siblings is not kept. DataError: a model's method and no model.
    """
    from etude.data.augmentation.texts import request_of
    from etude.errors import DataError

    if generate is None and set(options.methods) & {*BY_MODEL}:
        raise DataError("needs a model that writes", where="methods", remedy="name one with --model")
    survey = _Survey()
    for row in rows.each("looking for what requests share"):
        request = _request(row, request_of)
        if request is not None:
            survey.take(request)
    counts = _Counts(max(survey.answers.values(), default=0), Counter(survey.answers))
    batch: list[tuple[Row, list[_Made]]] = []
    for row in rows.each("augmenting"):
        request = _request(row, request_of)
        number = 0 if request is None else counts.wanted(request, options)
        if request is None:
            ledger.changed("left alone: no request to change")
        batch.append((row, [] if request is None else _plan(row, request, survey, options, number)))
        if len(batch) >= BATCH:
            yield from _written(batch, survey.known, ledger, options, generate)
            batch = []
    yield from _written(batch, survey.known, ledger, options, generate)


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


def _request(row: Row, request_of: Callable[[Row], Request | None]) -> Request | None:
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
    from etude.data.augmentation.noise import noised
    from etude.data.augmentation.paraphrase import paraphrased
    from etude.data.augmentation.texts import spans_of

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
    from etude.data.augmentation.texts import spans_of

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


def _written(
    batch: Sequence[tuple[Row, list[_Made]]],
    known: set[bytes],
    ledger: Ledger,
    options: Augment,
    generate: Generate | None,
) -> Iterator[Row]:
    asked = [made for _, children in batch for made in children if made.method in BY_MODEL]
    texts = iter(_by_model(asked, options, generate))
    for row, children in batch:
        kept = []
        for made in children:
            text = made.text
            if made.method in BY_MODEL:
                written = next(texts).strip()
                text = made.head + written if written else ""
            lost = made.method != "swap" and any(value not in text for value in made.request.slots.values())
            name = _hashed(_normal(text))
            if not text or name in known or lost:
                ledger.changed(f"not made by {made.method}: {'a value was lost' if lost else 'nothing new'}")
                continue
            known.add(name)
            kept.append(_child(made, text, options))
            ledger.changed(f"made by {made.method}")
        yield row if not kept else row.changed({**row.columns, "group": _group(row)})
        yield from kept


def _by_model(asked: Sequence[_Made], options: Augment, generate: Generate | None) -> list[str]:
    if not asked or generate is None:
        return []
    back = [made.method == "back-translation" for made in asked]
    prompts = [
        TRANSLATE.format(language=options.through, text=made.text) if is_back else REWRITE.format(text=made.text)
        for made, is_back in zip(asked, back, strict=True)
    ]
    texts = generate(prompts)
    there = [text for text, is_back in zip(texts, back, strict=True) if is_back]
    asked_back = [TRANSLATE.format(language=options.language, text=text) for text in there if text.strip()]
    returned = iter(generate(asked_back) if asked_back else [])
    both = zip(texts, back, strict=True)
    return [next(returned) if is_back and text.strip() else text for text, is_back in both]


def _child(made: _Made, text: str, options: Augment) -> Row:
    """The parent's columns with the new request and its answer, and where the row comes from."""
    from etude.data.augmentation.texts import replaced, text_at

    request, columns = made.request, made.row.columns
    texts = {}
    for path in request.places:
        before = text_at(columns, path)
        texts[path] = text if before == request.prompt else _part(request.prompt, text, before)
    for path in request.answers:
        texts[path] = _answered(text_at(columns, path), made.answers)
    changed = replaced(columns, texts)
    assert isinstance(changed, dict)
    said = {"method": made.method, "seed": options.seed}
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
