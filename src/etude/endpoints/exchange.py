"""What is asked of an endpoint and what comes back, as values and as JSON on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from etude.endpoints.options import EndpointOptions
from etude.json_values import json_sha256

BYTES_PER_TOKEN = 3
"""Below what tokenizers reach on most languages, so that what is reserved suffices."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    messages: tuple[tuple[str, str], ...]
    """(role, text), oldest first."""
    sample: int = 0
    """Which of several answers to the same messages; each is kept in the cache on its own."""
    response_format: Mapping[str, Any] | None = None
    """A form that the server holds the answer to, such as {"type": "json_object"}."""

    def body(self, options: EndpointOptions) -> dict[str, Any]:
        """The request's JSON."""
        found: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": role, "content": text} for role, text in self.messages],
            options.token_limit_name: options.max_tokens,
        }
        if options.temperature is not None:
            found["temperature"] = options.temperature
        if self.response_format is not None:
            found["response_format"] = dict(self.response_format)
        return found

    def key(self, options: EndpointOptions) -> str:
        """The name of this question to this model in the cache: everything that decides the answer, hashed."""
        content = [options.url.rstrip("/"), self.body(options), self.sample]
        return json_sha256(content)

    @property
    def tokens_expected(self) -> int:
        """Of the messages, guessed by their bytes."""
        return sum(8 + math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) for _, text in self.messages)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    text: str
    finish: str
    """Why it ended, in the server's words: `stop`, `length`, …"""
    tokens_asked: int
    tokens_answered: int
    cached: bool = False
    seconds: float | None = None
    """From the request to its answer, in the try that succeeded; None where nobody took the time."""


@dataclass(frozen=True, slots=True)
class NoReply:
    """This request has no answer; others may."""

    reason: str
    refused: bool = False
    """Whether the server found the request itself wrong."""


def read_reply(content: bytes) -> Reply:
    """The answer in a server's JSON; tokens it does not count are guessed.

    Raises:
        ValueError: this is no answer.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"what came is no JSON: {content[:80]!r}") from error
    try:
        choice = value["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason") or "stop"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"what came holds no answer: {error_text(content)}") from error
    if not isinstance(text, str):
        raise ValueError(f"what came holds no text (finish_reason {finish!r})")
    usage = value.get("usage") or {}
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    asked, answered = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    guessed = math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)
    return Reply(text, str(finish), asked or 0, guessed if answered is None else answered)


def error_text(content: bytes) -> str:
    """What a server says is wrong, in one short line."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = content.decode("utf-8", errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())[:200] or "nothing"


def error_code(content: bytes) -> str:
    """The server's own code of what is wrong; empty where it names none."""
    try:
        return str(json.loads(content)["error"]["code"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def wait_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """How long the server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date; None: it does not.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            found = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(found):
            return max(0.0, found)
    try:
        when = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
