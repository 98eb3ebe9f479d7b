"""One answer as it grows: its tokens, its text piece by piece, and when it ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from etude.sampling.options import SampleOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = tuple[int, ...]
UNFINISHED = "\ufffd"
"""What a tokenizer shows for bytes that are not (yet) a character."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after one prompt."""

    tokens: tuple[int, ...]
    """The ending token included, if one was drawn; with a stop text, up to the token that completes it."""
    logprobs: tuple[float, ...]
    """Nats, of the model's own distribution: temperature 1, nothing cut off."""
    text: str
    """Without control tokens, ending token and stop text."""
    finish: Literal["stop", "length"]
    seconds: float = field(default=0.0, compare=False)
    """From the start of its batch to its end."""


class TextStream:
    """Turns tokens into text as they come; bytes of an unfinished character wait for the rest of it."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._given = 0
        """Tokens whose text has been handed out."""
        self._context = 0
        """Where decoding starts: earlier tokens may change the spaces of later ones, but not from this far."""

    def push(self, token: int) -> str:
        """The text that this token completes, often its own and sometimes none."""
        self._tokens.append(token)
        before, after = (
            self._decode(self._tokens[self._context : self._given]),
            self._decode(self._tokens[self._context :]),
        )
        if len(after) <= len(before) or after.endswith(UNFINISHED):
            return ""
        self._context, self._given = self._given, len(self._tokens)
        return after[len(before) :]

    def rest(self) -> str:
        """What is left at the end, unfinished characters included."""
        before, after = (
            self._decode(self._tokens[self._context : self._given]),
            self._decode(self._tokens[self._context :]),
        )
        return after[len(before) :]


class Answer:
    """The row of one prompt; its random numbers depend on the seed, the row and the step alone."""

    def __init__(
        self,
        row: int,
        prompt: Prompt,
        tokenizer: PreTrainedTokenizerBase,
        options: SampleOptions,
        *,
        end_ids: frozenset[int],
        streams: bool = False,
    ) -> None:
        self.row = row
        self.prompt = prompt
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.text = ""
        """The text so far, kept only if somebody reads it as it comes."""
        self.finish: Literal["stop", "length"] | None = None
        self.seconds = 0.0
        self._began = time.perf_counter()
        self._tokenizer = tokenizer
        self._options = options
        self._end_ids = end_ids
        self._random = random.Random(f"{options.seed}/{row}")
        self._hidden = frozenset(tokenizer.all_special_ids) | end_ids
        self._stream = TextStream(self._decode) if options.stop or streams else None

    def _decode(self, tokens: list[int]) -> str:
        return cast("str", self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))

    def uniform(self) -> float:
        """The random number of the next step, in [0, 1)."""
        return self._random.random()

    def begin(self) -> None:
        """Its batch starts."""
        self._began = time.perf_counter()

    def add(self, token: int, logprob: float) -> None:
        """Takes one drawn token and notices the end."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self._stream is not None and token not in self._hidden:
            self.text += self._stream.push(token)
        if token in self._end_ids or self._stop_at(self.text) is not None:
            self.finish = "stop"
        elif len(self.tokens) >= self._options.max_new_tokens:
            self.finish = "length"
        if self.finish is not None:
            self.seconds = time.perf_counter() - self._began

    def _stop_at(self, text: str) -> int | None:
        """Where the first stop text begins."""
        found = [place for stop in self._options.stop if (place := text.find(stop)) >= 0]
        return min(found, default=None)

    def certain_text(self) -> str:
        """The text that later tokens cannot take back: what might become a stop text is held back."""
        if self.finish is not None:
            return self.whole_text()
        held = 0
        for stop in self._options.stop:
            sizes = (n for n in range(len(stop) - 1, 0, -1) if self.text.endswith(stop[:n]))
            held = max(held, next(sizes, 0))
        return self.text[: len(self.text) - held]

    def whole_text(self) -> str:
        """The answer's text up to the stop text."""
        if self._stream is None:
            return self._decode([token for token in self.tokens if token not in self._hidden])
        text = self.text + self._stream.rest()
        return text[: self._stop_at(text)]

    def completion(self) -> Completion:
        """The finished answer."""
        assert self.finish is not None
        return Completion(tuple(self.tokens), tuple(self.logprobs), self.whole_text(), self.finish, self.seconds)
