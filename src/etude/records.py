"""The rows of every data file: frozen records, each knowing the file and line that it came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from; `line` counts from 1 (in Parquet and JSON arrays, the row's number)."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image by path; the vision objectives read it, text rendering refuses it by name."""

    path: str


Content = str | tuple[TextPart | ImagePart, ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str
    """JSON text."""
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: Content
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    weight: float | None = None
    """How strongly the message is learned; None: 1 for the assistant's messages, 0 for all others."""
    tool_call_id: str | None = None
    """The call that a tool's message answers."""
    reasoning: str | None = None
    """What was thought before the content was written; a part of its own, as chat templates know it."""
    reasoning_weight: float | None = None
    """How strongly the reasoning is learned; None: as the message."""

    @property
    def text(self) -> str:
        """The content's text, image parts left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Document:
    """A text that an answer may rest on."""

    text: str
    title: str | None = None
    relevant: bool | None = None
    """Whether the answer rests on it; False: a distractor; None: that was not said."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the last request of a conversation was made of: a question, and documents to answer it from."""

    question: str
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat to learn from: the assistant's messages are learned unless a weight says otherwise."""

    messages: tuple[Message, ...]
    origin: Origin
    tools: tuple[str, ...] = ()
    """Tool declarations as JSON texts, shown to the chat template."""
    group: str | None = None
    """Rows of one group never fall on both sides of a split."""
    augmented_from: str | None = None
    """The row that this one was made from; such rows are never held out."""
    context: Context | None = None
    """Where the last request gives documents to answer from: these."""


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text to continue: domain adaptation, continued pre-training."""

    text: str
    origin: Origin
    group: str | None = None
    augmented_from: str | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, the first one better."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    origin: Origin
    group: str | None = None
    margin: float = 0.0
    """By how much the first one is better, where that was said."""
    weight: float = 1.0
    """How much the row counts in the loss: less where people disagreed."""
    augmented_from: str | None = None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer with a person's judgement: True or a score."""

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    judgement: bool | float
    origin: Origin
    group: str | None = None
    weight: float = 1.0
    """How much the row counts in the loss: less where people disagreed."""
    augmented_from: str | None = None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to answer, with the reference that an evaluation or a reward compares with."""

    messages: tuple[Message, ...]
    origin: Origin
    reference: str | None = None
    group: str | None = None
    augmented_from: str | None = None
    tools: tuple[str, ...] = ()
    context: Context | None = None
    """Where the last request gives documents to answer from: these."""


Record = Conversation | Text | Preference | Judged | Prompt
