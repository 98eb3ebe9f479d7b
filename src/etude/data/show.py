"""What a rendered row looks like to a person: runs of learned, read and control tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from etude.data.render import RenderedRow, Renderer
from etude.records import Context, Conversation, Judged, Message, Preference, Prompt, Record

Piece = tuple[str, str]
"""(text, learned | context | control); an end token that is learned counts as learned."""


def pieces(renderer: Renderer, row: RenderedRow) -> Iterator[Piece]:
    """The row's text in runs of one kind, each control token that is not learned by itself."""
    kinds = [kind(weight, control) for weight, control in zip(row.weights, row.control, strict=True)]
    for (name, _), run in groupby(enumerate(kinds), key=lambda pair: (pair[1], pair[1] == "control" and pair[0])):
        places = [at for at, _ in run]
        yield renderer.plain.decode([row.tokens[at] for at in places]), name


def kind(weight: float, control: bool) -> str:
    """learned, control or context."""
    return "learned" if weight > 0 else "control" if control else "context"


def marked(renderer: Renderer, row: RenderedRow) -> str:
    """The row with `[+learned+]` and `{control}` marked, for where there are no colours."""
    signs = {"learned": "[+{}+]", "control": "{{{}}}", "context": "{}"}
    return "".join(signs[name].format(text) for text, name in pieces(renderer, row))


def sequences(record: Record, renderer: Renderer) -> list[tuple[str, RenderedRow]]:
    """The record's sequences, each with what it is called; DataError if the template refuses the row.

    A judged answer is one of them: the other that training adds belongs to another row.
    """
    rows = renderer.encode(renderer.plans(record)[:1] if isinstance(record, Judged) else renderer.plans(record))
    names = (" (chosen)", " (rejected)") if isinstance(record, Preference) else ("",)
    return list(zip(names, rows, strict=True))


def details(record: Record) -> list[str]:
    """What belongs to the row beside its tokens, a line each."""
    match record:
        case Preference():
            found = [f"margin {record.margin:g}"] if record.margin else []
            return found + _weight(record.weight)
        case Judged():
            said = record.judgement if isinstance(record.judgement, bool) else f"{record.judgement:g}"
            return [f"judgement: {said}", *_weight(record.weight)]
        case Prompt():
            said = "a prompt to answer" + ("" if record.reference is None else f"; reference: {record.reference}")
            return [said, *_documents(record.context)]
        case Conversation():
            return [*_unusual(record.messages), *_documents(record.context)]
    return []


def _weight(weight: float) -> list[str]:
    return [] if weight == 1 else [f"weight {weight:g}"]


def _unusual(messages: tuple[Message, ...]) -> list[str]:
    """Weights that were given to messages."""
    said = [
        f"message {number} ({message.role}): {what} {weight:g}"
        for number, message in enumerate(messages, start=1)
        for what, weight in (("weight", message.weight), ("weight of its reasoning", message.reasoning_weight))
        if weight is not None
    ]
    return ["; ".join(said)] if said else []


def _documents(context: Context | None) -> list[str]:
    if context is None:
        return []
    relevant = [str(number) for number, held in enumerate(context.documents, start=1) if held.relevant]
    num_distractors = sum(held.relevant is False for held in context.documents)
    if not relevant and not num_distractors:
        return [f"{len(context.documents)} documents, which of them are relevant is not said"]
    which = ", ".join(relevant) or "none"
    return [f"{len(context.documents)} documents, relevant: {which}, distractors: {num_distractors}"]
