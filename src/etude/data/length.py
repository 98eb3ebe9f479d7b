"""Rows longer than the model should see: windows for plain text, shorter prompts for chats; answers are never cut."""

from __future__ import annotations

from dataclasses import replace

from etude.data.context import is_marked, without_a_distractor
from etude.data.render import EncodedRow, Renderer
from etude.records import Conversation, Judged, Message, Preference, Prompt, Record

ATTEMPTS = 64
CONTEXT = ("user", "tool", "function", "ipython")
SYSTEM = ("system", "developer")


def windows(row: EncodedRow, max_tokens: int, opening: int) -> tuple[EncodedRow, ...]:
    """A plain text's tokens in windows of at most `max_tokens`, every token learned exactly once.

    Each window starts with the text's own `opening` tokens (BOS), or, if there are none, with the last token of the
    window before it as context.
    """
    if len(row.tokens) <= max_tokens:
        return (row,)
    context = opening or 1
    made = [_window(row, 0, max_tokens, head=0, context=0)]
    at = max_tokens
    while at < len(row.tokens):
        start, stop = (at, at + max_tokens - opening) if opening else (at - 1, at - 1 + max_tokens)
        made.append(_window(row, start, stop, head=opening, context=context))
        at = stop
    return tuple(made)


def _window(row: EncodedRow, start: int, stop: int, *, head: int, context: int) -> EncodedRow:
    """The tokens from `start` on behind the row's first `head` ones; the first `context` of all are not learned."""
    tokens = row.tokens[:head] + row.tokens[start:stop]
    moved = head - start
    spans = [(max(context, begin + moved), min(len(tokens), end + moved), weight) for begin, end, weight in row.spans]
    return EncodedRow(tokens, [span for span in spans if span[0] < span[1]])


def shorten(record: Record, renderer: Renderer, max_tokens: int) -> Record | None:
    """The record with text taken from the left of its longest prompt messages until it fits; None if it cannot.

    Only contents that are not learned are cut (the system message last), never the template, never an answer; judged
    rows and bare prompts are never cut. Of documents to answer from the distractors go, the longest first, and those
    on which the answer rests are never cut.
    """
    if isinstance(record, Judged | Prompt):
        return None
    if isinstance(record, Conversation) and record.context is not None:
        record = _with_fewer_distractors(record, renderer, max_tokens)
        if is_marked(record.context) and _excess(record, renderer, max_tokens) > 0:
            return None
    for attempt in range(ATTEMPTS):
        excess = _excess(record, renderer, max_tokens)
        if excess <= 0:
            return record
        messages = record.messages if isinstance(record, Conversation) else record.prompt  # type: ignore[union-attr]
        if not attempt and excess > _room(messages, renderer):
            return None
        shorter = _cut(messages, renderer, excess)
        if shorter is None:
            return None
        if isinstance(record, Conversation):
            record = replace(record, messages=shorter)
        else:
            assert isinstance(record, Preference)
            record = replace(record, prompt=shorter)
    return None


def _with_fewer_distractors(record: Conversation, renderer: Renderer, max_tokens: int) -> Conversation:
    while _excess(record, renderer, max_tokens) > 0:
        fewer = without_a_distractor(record)
        if fewer is None:
            break
        record = fewer
    return record


def _excess(record: Record, renderer: Renderer, max_tokens: int) -> int:
    """Tokens over the limit."""
    return max(len(row.tokens) for row in renderer.encoded(renderer.plans(record))) - max_tokens


def _room(messages: tuple[Message, ...], renderer: Renderer) -> int:
    """About how many tokens can be cut in all."""
    texts = [message.text for message in messages if message.role in CONTEXT + SYSTEM and not message.weight]
    return sum(len(tokens) for tokens in renderer.plain.encode(texts))


def _cut(messages: tuple[Message, ...], renderer: Renderer, excess: int) -> tuple[Message, ...] | None:
    """The messages with up to `excess` tokens fewer in the longest one that may be cut; None if none is left."""
    sizes = [len(tokens) for tokens in renderer.plain.encode([message.text for message in messages])]
    for roles in (CONTEXT, SYSTEM):
        able = [
            at for at, message in enumerate(messages) if message.role in roles and not message.weight and sizes[at] > 1
        ]
        if not able:
            continue
        at = max(able, key=lambda at: sizes[at])
        text = renderer.plain.cut_left(messages[at].text, min(excess, sizes[at] - 1))
        if text == messages[at].text or not text.strip():
            text = messages[at].text.strip()[-1:] or "…"
        return (*messages[:at], replace(messages[at], content=text), *messages[at + 1 :])
    return None
