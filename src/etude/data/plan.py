"""What a chat is made of before it is encoded: control tokens and pieces of text, each with its weight.

A skeleton with given weights always gives the same steps but for what stands in its slots, so they are worked out once,
as a recipe, and what never changes is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from etude.records import Message

Encode = Callable[[str, bool], tuple[int, ...]]
"""Token ids of a text; True: with the leading space that some tokenizers put before one."""
Part = str | int
"""A text, or the number of the content that stands here."""
Weights = tuple[float, float]
"""Of a message, and of its reasoning."""


class Owner(NamedTuple):
    """What a piece of a chat is learned with: the message of this number, or its reasoning."""

    message: int
    is_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """Where content number `index` goes."""

    index: int
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Literal:
    """Text of the template without control tokens; `owner` is the message whose answer it belongs to, if any."""

    text: str
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of the template."""

    token: int
    text: str
    owner: Owner | None


Item = Slot | Literal | Control


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A structure of chat, rendered: literals, control tokens and slots in order."""

    items: tuple[Item, ...]
    endings: Mapping[int, int | None]
    """Message index → control token that ends it, None if nothing does."""
    recipes: dict[tuple[Weights, ...], Recipe] = field(default_factory=dict, compare=False, repr=False)
    """By the messages' weights, as they are asked for."""

    def join(self, contents: Sequence[str]) -> str:
        """The text that the template gives with these contents."""
        return "".join(contents[item.index] if isinstance(item, Slot) else item.text for item in self.items)


class Step(NamedTuple):
    """A control token, or a piece of text to encode without any."""

    weight: float
    text: str = ""
    prefix: bool = False
    tokens: tuple[int, ...] | None = None
    """What the step gives, if that is known."""


Plan = tuple[Step, ...]
"""A sequence before encoding."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A step that depends on contents."""

    weight: float
    parts: tuple[Part, ...]
    prefix: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps of every chat of one structure."""

    pieces: tuple[Step | _Piece, ...]
    tight: tuple[int, ...]
    """Contents that must not end with a space, which would belong to the answer behind it."""

    def steps(self, contents: Sequence[str]) -> tuple[Step, ...] | None:
        """The chat's steps; None if these contents change the structure itself."""
        if not all(contents) or any(contents[at].endswith(" ") for at in self.tight):
            return None
        return tuple(
            piece
            if isinstance(piece, Step)
            else Step(
                piece.weight,
                "".join([contents[part] if isinstance(part, int) else part for part in piece.parts]),
                piece.prefix,
            )
            for piece in self.pieces
        )


@dataclass(slots=True)
class _Assembly:
    """Pieces gathered between control tokens; an answer, or another weight, begins a new one."""

    after_control: bool
    prefix: bool
    encode: Encode
    pieces: list[Step | _Piece] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    tight: list[int] = field(default_factory=list)
    weight: float = 0.0
    message: int | None = None

    def flush(self) -> None:
        parts = [part for part in self.parts if part != ""]
        if any(isinstance(part, int) for part in parts):
            self.pieces.append(_Piece(self.weight, tuple(parts), self.prefix))
        elif parts:
            text = "".join(map(str, parts))
            self.pieces.append(Step(self.weight, text, self.prefix, self.encode(text, self.prefix)))
        if parts:
            self.prefix = False
        self.parts = []

    def control(self, token: int, weight: float) -> None:
        self.flush()
        self.pieces.append(Step(weight, tokens=(token,)))
        self.prefix = self.after_control

    def add(self, part: Part, weight: float, *, opens: bool) -> None:
        spaces = self.strip() if opens else ""
        if opens or weight != self.weight:
            self.flush()
        self.weight = weight
        self.parts += [spaces, part]

    def strip(self) -> str:
        """Takes the spaces at the end away: before an answer they belong to its first word, as in running text."""
        spaces = ""
        while self.parts and isinstance(self.parts[-1], str):
            last = str(self.parts.pop())
            kept = last.rstrip(" ")
            spaces = last[len(kept) :] + spaces
            if kept:
                self.parts.append(kept)
                return spaces
        if self.parts:
            self.tight.append(int(self.parts[-1]))
        return spaces


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Makes recipes for one tokenizer."""

    encode: Encode
    after_control: bool
    """Whether a text behind a control token gets the leading space."""
    at_start: bool
    """Whether one at the beginning does."""

    def steps(
        self, skeleton: Skeleton, contents: Sequence[str], messages: Sequence[Message], *, answer: bool
    ) -> tuple[Step, ...]:
        """The steps of a chat; with `answer` it ends where the assistant's next message begins."""
        weights = tuple(map(weights_of, messages))
        recipe = skeleton.recipes.get(weights)
        if recipe is None:
            recipe = skeleton.recipes[weights] = self._recipe(skeleton, weights, messages, answer=answer)
        steps = recipe.steps(contents)
        if steps is None:
            steps = self._recipe(skeleton, weights, messages, contents, answer=answer).steps(())
            assert steps is not None
        return steps

    def _recipe(
        self,
        skeleton: Skeleton,
        weights: Sequence[Weights],
        messages: Sequence[Message],
        contents: Sequence[str] | None = None,
        *,
        answer: bool,
    ) -> Recipe:
        """For any contents, or for these only."""
        assembly = _Assembly(self.after_control, self.at_start, self.encode)
        for item in skeleton.items:
            message = None if item.owner is None else item.owner.message
            weight = 0.0 if item.owner is None else weights[item.owner.message][item.owner.is_reasoning]
            opens = message is not None and message != assembly.message and messages[message].role == "assistant"
            assembly.message = message
            if isinstance(item, Control):
                assembly.control(item.token, weight)
            elif isinstance(item, Slot):
                assembly.add(item.index if contents is None else contents[item.index], weight, opens=opens)
            else:
                assembly.add(item.text, weight, opens=opens)
        if answer:
            assembly.strip()
        assembly.flush()
        return Recipe(tuple(assembly.pieces), tuple(assembly.tight))


def weights_of(message: Message) -> Weights:
    """How strongly the message is learned, and its reasoning."""
    said = message.weight
    if said is None:
        said = 1.0 if message.role == "assistant" else 0.0
    return said, said if message.reasoning_weight is None else message.reasoning_weight
