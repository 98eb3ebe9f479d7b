"""Chat templates run in a process of their own, with limits: a template is a program that came with a model.

A chat costs a small part of a millisecond more than it would here. The process starts with the first one, and serves
everybody who renders with the same templates: starting it takes more time than most files of rows.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import finalize

from etude.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHILD = Path(__file__).with_name("template_child.py")
LONGEST_SOURCE = 1_000_000
CHATS_A_REQUEST = 256
CHARACTERS_A_REQUEST = 1 << 16
WALL_SECONDS = 30.0
"""Longest wait for one reply, also where the child gets no time of a processor: far over what its own limits allow."""
PIPE_BYTES = 1 << 16
REMEDY = "use a base model with another template"
OVER = {
    "time": "it takes more time than any honest template needs",
    "memory": "it takes more memory than any honest template needs",
    "wait": f"it gave no answer within {WALL_SECONDS:.0f} s",
    "end": "its process ended while it ran",
    "nesting": "it calls itself without end, or is nested too deeply",
}
Messages = list[dict[str, Any]]


class TemplateProcess:
    """Renders chats with a tokenizer's own templates, as its `apply_chat_template` would."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        source = tokenizer.chat_template
        sources: dict[str, str] = source if isinstance(source, dict) else {"default": source} if source else {}
        self.where = f"chat template of {tokenizer.name_or_path or 'the tokenizer'}"
        if not sources:
            raise ModelError(
                "the tokenizer has no chat template, so conversations cannot be rendered",
                where=str(tokenizer.name_or_path),
                remedy="use an instruction-tuned base model, or learn from plain text (format: text)",
            )
        if sum(map(len, sources.values())) > LONGEST_SOURCE:
            raise ModelError(
                f"refused: it is longer than {LONGEST_SOURCE:,} characters", where=self.where, remedy=REMEDY
            )
        self.source = sources.get("default") or next(iter(sources.values()))
        self.tool_source = sources.get("tool_use", self.source)
        """The one for chats with tools: some models have two."""
        self._special = {name: value for name, value in tokenizer.special_tokens_map.items() if value is not None}
        self._child = _child_of(self.source, self.tool_source)
        self._refusal: ModelError | None = None

    def render(self, chats: Sequence[Messages], tools: Sequence[Any], *, answer: bool) -> list[str]:
        """The template's text of each chat; `answer` appends the opening of the assistant's next message.

        Raises:
            DataError: the template refuses one of the chats.
            ModelError: it takes more time or memory than templates may; from then on always.
        """
        if self._refusal is not None:
            raise self._refusal
        texts: list[str] = []
        for several in _requests(chats):
            found = self._asked(several, tools, answer=answer)
            if isinstance(found, str):  # too much for all of them: one by one, who is it?
                for chat in several:
                    alone = found if len(several) == 1 else self._asked([chat], tools, answer=answer)
                    if isinstance(alone, str):
                        self._refusal = ModelError(f"refused: {OVER[alone]}", where=self.where, remedy=REMEDY)
                        raise self._refusal
                    texts += alone
            else:
                texts += found
        return texts

    def _asked(self, chats: Sequence[Messages], tools: Sequence[Any], *, answer: bool) -> list[str] | str:
        """The texts, or the name of the limit that was passed."""
        request = {
            "source": self.tool_source if tools else self.source,
            "special": self._special,
            "chats": chats,
            "tools": list(tools) or None,
            "answer": answer,
        }
        line = json.dumps(request).encode() + b"\n"
        reply, code = self._child.exchanged(line)
        if code == -signal.SIGKILL:  # by somebody else, or it stood still: no limit of its own does that
            reply, code = self._child.exchanged(line)
        if not reply:
            return {-signal.SIGPROF: "time", -signal.SIGKILL: "wait"}.get(code, "end")
        told: dict[str, Any] = json.loads(reply)
        if "refused" in told:
            raise DataError("".join(char if char.isprintable() else " " for char in str(told["refused"])))
        return str(told["over"]) if "over" in told else list(told["rendered"])


class _Child:
    """A process that renders, started when it is first asked and again after a limit ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = Lock()

    def exchanged(self, line: bytes) -> tuple[bytes, int]:
        """The reply, or nothing and the code that it ended with."""
        with self._lock:
            process = self._process
            if process is None or self._owner != os.getpid():  # a forked process must not talk to its parent's child
                process = self._process = self._start()
            reply = _answered(process, line)
            if reply:
                return reply, 0
            self._process = None
            self._end()
            return b"", process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self._owner = os.getpid()
        self._end = finalize(self, _end, process, self._owner)
        return process


@lru_cache(maxsize=4)
def _child_of(source: str, tool_source: str) -> _Child:
    """One for all who render with these templates, and for no other: a hostile one could spoil what others get."""
    return _Child()


def _answered(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """The line that the child writes when it is given one; nothing if it ends, or takes too long for any reason."""
    assert process.stdin is not None
    assert process.stdout is not None
    until = time.monotonic() + WALL_SECONDS
    left, reply = memoryview(line), b""
    while not reply.endswith(b"\n"):
        readable, writable, _ = select.select(
            [process.stdout], [process.stdin] if left else [], [], max(0.0, until - time.monotonic())
        )
        if not readable and not writable:
            return b""
        if writable:
            with suppress(BrokenPipeError):
                left = left[os.write(process.stdin.fileno(), left[:PIPE_BYTES]) :]
        if readable:
            part = os.read(process.stdout.fileno(), PIPE_BYTES)
            if not part:
                return b""
            reply += part
    return reply


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Lets the child go, if it is this process's own."""
    if owner != os.getpid():
        return
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.kill()
    process.wait()


def _requests(chats: Sequence[Messages]) -> Iterator[list[Messages]]:
    """The chats in portions of a size for which the limits are meant."""
    portion: list[Messages] = []
    size = 0
    for chat in chats:
        portion.append(chat)
        size += sum(len(str(message.get("content", ""))) for message in chat)
        if len(portion) == CHATS_A_REQUEST or size >= CHARACTERS_A_REQUEST:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
