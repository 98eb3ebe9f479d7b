"""Rows that ask to answer from given documents, some of which may be distractors: the layout `grounded`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from etude.data.check import RowError
from etude.data.columns import kind_of
from etude.records import Context, Conversation, Document

REQUEST = "Answer from the documents below."
TEXT_KEYS = ("text", "content", "passage", "body", "contents")
TITLE_KEYS = ("title", "name", "source", "id")
RELEVANT_KEYS = ("relevant", "is_relevant", "is_supporting", "is_selected")


def request_text(context: Context) -> str:
    """What the user says: the documents in their order, numbered from 1, then the question."""
    numbered = [f"[{number}] {shown(document)}" for number, document in enumerate(context.documents, start=1)]
    return "\n\n".join([REQUEST, *numbered, f"Question: {context.question}"])


def shown(document: Document) -> str:
    """A document's title, where it has one, and its text."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def without_a_distractor(record: Conversation) -> Conversation | None:
    """The conversation without its longest distractor; None where it has none, or no documents at all."""
    context = record.context
    if context is None:
        return None
    distractors = [document for document in context.documents if document.relevant is False]
    if not distractors:
        return None
    gone = max(distractors, key=lambda document: len(document.text))
    documents = list(context.documents)
    del documents[next(at for at, document in enumerate(documents) if document is gone)]
    smaller = replace(context, documents=tuple(documents))
    before, after = request_text(context), request_text(smaller)
    messages = tuple(replace(said, content=after) if said.content == before else said for said in record.messages)
    return replace(record, messages=messages, context=smaller)


def is_marked(context: Context | None) -> bool:
    """Whether it is said of some document that the answer rests on it, so that none of those may be cut."""
    return context is not None and any(document.relevant for document in context.documents)


def context_of(question: str, held: object, relevant: object) -> Context:
    """The documents as a row holds them: texts, or objects with a text; RowError says what is wrong with them.

    `relevant` says on which of them the answer rests: a list of true and false, one for each document, or numbers
    (from 0) or titles of the relevant ones, or one such; None: the documents say so themselves, or nobody does.
    """
    items = [held] if isinstance(held, str) else held
    if not isinstance(items, list):
        raise RowError(f"documents holds {kind_of(held)}, not a list")
    if not items:
        raise RowError("documents is empty")
    documents = [_document(item, number) for number, item in enumerate(items, start=1)]
    if relevant is not None and relevant != []:
        marks = _marks(documents, relevant if isinstance(relevant, list) else [relevant])
        documents = [replace(document, relevant=mark) for document, mark in zip(documents, marks, strict=True)]
    return Context(question, tuple(documents))


def _document(item: object, number: int) -> Document:
    if isinstance(item, str):
        if not item.strip():
            raise RowError(f"document {number} is empty")
        return Document(item.strip())
    if not isinstance(item, dict):
        raise RowError(f"document {number} is {kind_of(item)}, neither a text nor an object with one")
    text = next((item[key] for key in TEXT_KEYS if isinstance(item.get(key), str) and item[key].strip()), None)
    if text is None:
        raise RowError(f"document {number} has no text; it stands under one of {', '.join(TEXT_KEYS)}")
    title = next((str(item[key]) for key in TITLE_KEYS if isinstance(item.get(key), str | int)), None)
    return Document(text.strip(), title=title or None, relevant=_said(item, number))


def _said(item: Mapping[str, object], number: int) -> bool | None:
    said = next((item[key] for key in RELEVANT_KEYS if item.get(key) is not None), None)
    if said is None or isinstance(said, bool):
        return said
    if said in (0, 1):
        return bool(said)
    raise RowError(f"document {number}: relevant must be true or false, found {said!r}")


def _marks(documents: Sequence[Document], relevant: Sequence[object]) -> list[bool]:
    if all(isinstance(mark, bool) for mark in relevant):
        if len(relevant) != len(documents):
            raise RowError(f"relevant has {len(relevant)} marks for {len(documents)} documents")
        return [bool(mark) for mark in relevant]
    titles = [document.title for document in documents]
    chosen = set()
    for mark in relevant:
        if isinstance(mark, int) and not isinstance(mark, bool) and 0 <= mark < len(documents):
            chosen.add(mark)
        elif isinstance(mark, str) and mark in titles:
            chosen.update(at for at, title in enumerate(titles) if title == mark)
        else:
            raise RowError(f"relevant names {mark!r}, which is no document's number (from 0) or title")
    return [at in chosen for at in range(len(documents))]
