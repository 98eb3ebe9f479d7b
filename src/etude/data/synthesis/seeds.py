"""What new rows are made from: rows with one question and its answer, or passages of documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

from etude.data.check import RowError
from etude.data.fingerprint import normal
from etude.data.inputs import Row
from etude.data.work import Ledger, Rows
from etude.errors import DataError
from etude.json_values import parse_object
from etude.records import Conversation, Message, Prompt, Record, Text

MOST_SEEDS = 20_000
"""Seeds held in memory, drawn evenly from all rows."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A row or a passage from which new rows are made."""

    row: Row
    prompt: str
    """The question; of a document, the passage."""
    answer: str = ""
    system: Message | None = None

    @property
    def origin(self) -> str:
        return str(self.row.origin)


@dataclass
class Seeds:
    """The seeds that are drawn from, and what all of them have in common."""

    drawn: list[Seed] = field(default_factory=list)
    documents: bool = False
    answers: set[bytes] = field(default_factory=set)
    """Every answer, by hash."""
    fields: set[str] | None = field(default_factory=set)
    """The fields of JSON answers; None where not every answer is a JSON object."""
    number: int = 0

    def take(self, seed: Seed, dice: Random) -> None:
        """One more; of very many an even sample is kept (algorithm R, https://doi.org/10.1145/3147.3165)."""
        self.number += 1
        if len(self.drawn) < MOST_SEEDS:
            self.drawn.append(seed)
        elif (place := dice.randrange(self.number)) < MOST_SEEDS:
            self.drawn[place] = seed
        if self.documents:
            return
        self.answers.add(hashed(seed.answer))
        held = parse_object(seed.answer)
        if held is None:
            self.fields = None
        elif self.fields is not None:
            self.fields |= held.keys()

    def draw(self, attempt: int, shots: int, seed: int) -> tuple[Seed, ...]:
        """The seeds of one attempt: a passage, or so many rows; the same for the same numbers."""
        dice = Random(f"{seed}/{attempt}")
        if self.documents:
            once, place = divmod(attempt, len(self.drawn))
            order = list(range(len(self.drawn)))
            Random(f"{seed}/passages/{once}").shuffle(order)
            return (self.drawn[order[place]],)
        return tuple(dice.sample(self.drawn, min(shots, len(self.drawn))))


def take_seeds(rows: Rows, ledger: Ledger, *, longest: int, seed: int) -> Seeds:
    """Every row that can be a seed; the others are dropped with the reason. `longest` is a passage's characters.

    Raises:
        DataError: there is none, or there are documents and rows with answers.
    """
    found, dice = Seeds(), Random(f"{seed}/seeds")
    kinds: set[bool] = set()
    for row in rows.each("reading seeds"):
        try:
            records = row.records()
        except RowError as error:
            ledger.drop(row, "unusable", found=str(error))
            continue
        seeds = [seed for record in records for seed in _seeds_of(record, row, longest)]
        if not seeds:
            ledger.drop(row, "no seed: not one question with its answer")
        for one in seeds:
            kinds.add(not one.answer)
            found.documents = not one.answer
            found.take(one, dice)
    if not found.drawn:
        raise DataError(
            "holds no seed", where=", ".join(file.name for file in rows.inputs.files),
            remedy="give rows with a question and an answer each, or documents (.txt, .md, a column `text`)",
        )  # fmt: skip
    if len(kinds) > 1:
        raise DataError("documents and rows with answers cannot be seeds together", remedy="give one kind at a time")
    return found


def said_in(rows: Rows, title: str) -> Iterator[tuple[str, str]]:
    """(origin, question) of every row that could be a seed."""
    for row in rows.each(title):
        try:
            records = row.records()
        except RowError:
            continue
        for record in records:
            for seed in _seeds_of(record, row, 1):
                yield seed.origin, seed.prompt


def hashed(text: str) -> bytes:
    """A text's name, but for case and white space."""
    return blake2b(normal(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _seeds_of(record: Record, row: Row, longest: int) -> list[Seed]:
    match record:
        case Text():
            return [Seed(row, passage) for passage in passages(record.text, longest)]
        case Conversation():
            return _single(record.messages, row)
        case Prompt() if record.reference:
            return _single((*record.messages, Message("assistant", record.reference)), row)
        case _:
            return []


def _single(messages: Sequence[Message], row: Row) -> list[Seed]:
    system = messages[0] if messages and messages[0].role in ("system", "developer") else None
    rest = messages[1:] if system else messages
    if [message.role for message in rest] != ["user", "assistant"] or not rest[1].text or rest[1].tool_calls:
        return []
    return [Seed(row, rest[0].text, rest[1].text, system)]


def passages(text: str, longest: int) -> list[str]:
    """The text in pieces of at most so many characters, cut between paragraphs where that can be, or words."""
    found: list[str] = []
    rest = text.strip()
    while len(rest) > longest:
        at = max(rest.rfind("\n\n", 0, longest), 0) or max(rest.rfind(" ", 0, longest), 0) or longest
        found.append(rest[:at].strip())
        rest = rest[at:].strip()
    return [piece for piece in (*found, rest) if piece]
