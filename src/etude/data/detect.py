"""Which layout the rows of a file have, said in words; one clear error with an example when none fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from etude.data.columns import FIELDS, NEEDED, Feed, kind_of, layout_for, parse_mapping
from etude.data.rows import RawRow
from etude.errors import DataError

LOOKED_AT = 1_000
MESSAGES = ("messages", "conversation", "conversations", "dialogue", "dialog", "chat")
PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", "user")
ANSWERS = ("completion", "response", "answer", "output", "solution", "target", "reply", "assistant")
DOCUMENTS = ("documents", "contexts", "context", "passages", "docs", "ctxs", "paragraphs")
OPTIONAL = ("tools", "system", "group", "margin", "weight", "augmented_from", "relevant")
"""Fields that are taken from columns of their own name."""
JUDGEMENTS = ("judgement", "label", "thumb", "thumbs", "rating", "score", "desirable")
INPUTS = ("input", "context")
TEXTS = ("text", "content", "document", "body")
BESIDE_TEXT = frozenset(
    ("id", "url", "title", "source", "meta", "metadata", "timestamp", "date",
     "author", "language", "lang", "license", "group", "file", "path", "name", "augmented_from")
)  # fmt: skip
LABELS = ("label", "category", "intent", "class", "target", "sentiment", "answer", "summary", "type")
MESSAGE_KEYS = frozenset(
    (
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "weight",
        "from",
        "value",
        "reasoning_content",
        "reasoning",
        "thinking",
        "reasoning_weight",
    )
)
HUMAN_TURNS = re.compile(r"\s*(Human|User|System): ?.*?\n\nAssistant:", re.DOTALL)
HASH_TURNS = re.compile(r"\s*### ?(Human|User|System|Instruction):? ?.*?### ?(Assistant|Response):", re.DOTALL)

Shapes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows become records: the layout's name, what feeds each of its fields, and both in words."""

    format: str
    feeds: Mapping[str, Feed]
    words: str
    unused: tuple[str, ...] = field(default=())
    """Columns and message keys that nothing reads."""

    def __str__(self) -> str:
        return f"{self.words}; not used: {', '.join(self.unused)}" if self.unused else self.words

    @property
    def chats(self) -> tuple[str, ...]:
        """Columns that hold lists of messages."""
        feeds = (self.feeds.get("messages"), self.feeds.get("conversations"))
        return tuple(feed.column for feed in feeds if feed is not None and feed.column is not None)


@dataclass
class Noted:
    """What a file's rows hold, gathered as they pass."""

    columns: dict[str, None] = field(default_factory=dict)
    """Their names, in the order in which they were met."""
    message_keys: set[str] = field(default_factory=set)

    def note(self, row: RawRow, chats: Sequence[str] = ()) -> None:
        """One more row; `chats` are columns that may hold messages."""
        if not row.columns.keys() <= self.columns.keys():
            self.columns.update(dict.fromkeys(row.columns))
        for name in chats:
            held = row.columns.get(name)
            for item in held if isinstance(held, list) else ():
                if isinstance(item, dict) and not item.keys() <= self.message_keys:
                    self.message_keys.update(map(str, item))


def detect(
    rows: Sequence[RawRow],
    format: str = "auto",
    *,
    columns: Mapping[str, str],
    where: str,
    need_answer: bool = True,
    noted: Noted | None = None,
) -> Layout:
    """The layout of one file by its first rows. `columns` maps fields by hand; `need_answer=False` takes prompts alone.

    `noted` is what all of the file's rows hold, where these are not all of them. DataError if nothing fits: the columns
    that were found, the closest layout and a mapping to start from.
    """
    known = list((noted or _noted(rows)).columns)
    feeds = parse_mapping(columns, known, where=where) if columns else {}
    if format == "auto" and feeds:
        format = layout_for(feeds, where=where) or "auto"
    elif feeds and not set(feeds) <= set(FIELDS[format]):
        wrong = ", ".join(sorted(set(feeds) - set(FIELDS[format])))
        raise DataError(
            f"the layout {format} has no field {wrong}",
            where=where,
            remedy=f"its fields are {', '.join(FIELDS[format])}",
        )
    shapes = _shapes(rows[:LOOKED_AT], known)
    for name in FINDERS if format == "auto" else (format,):
        found = FINDERS[name](shapes, feeds, need_answer)
        if found is None:
            continue
        optional = [field for field in OPTIONAL if field in FIELDS[name] and field in known]
        complete: dict[str, Feed] = {name: Feed(column=name) for name in optional}
        complete.update({**found, **feeds})
        layout = Layout(name, complete, _words(name, complete, shapes))
        return replace(layout, unused=_unused(noted or _noted(rows, layout.chats), layout))
    raise _undetected(rows, shapes, format, where)


def shape(value: object) -> str:
    """messages, sharegpt, transcript or text; else what the value is in words."""
    if isinstance(value, str):
        return "empty" if not value.strip() else "transcript" if transcript_style(value) else "text"
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        if all("role" in item for item in value):
            return "messages"
        return "sharegpt" if all({"from", "value"} <= item.keys() for item in value) else "list of objects"
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "list of texts"
    return kind_of(value)


def transcript_style(text: str) -> re.Pattern[str] | None:
    """Which way of writing a chat as one text this is, if any."""
    return next((style for style in (HUMAN_TURNS, HASH_TURNS) if style.match(text)), None)


def _shapes(rows: Sequence[RawRow], known: Sequence[str]) -> dict[str, str]:
    """The commonest shape of each column that at least half of the rows have."""
    shapes: dict[str, str] = {}
    for name in known:
        counted = Counter(shape(row.columns[name]) for row in rows if name in row.columns)
        if 2 * counted.total() < len(rows):
            continue
        filled = {key: number for key, number in counted.items() if key not in ("empty", "nothing")}
        shapes[name] = max(filled, key=lambda key: filled[key]) if filled else "empty"
    return shapes


def _first(names: Sequence[str], shapes: Shapes, accepted: Sequence[str]) -> str | None:
    return next((name for name in names if shapes.get(name) in accepted), None)


Found = dict[str, Feed] | None
Feeds = Mapping[str, Feed]


def _feeds(**columns: str | None) -> dict[str, Feed]:
    return {name: Feed(column=column) for name, column in columns.items() if column is not None}


def _preference(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    answers = ("text", "transcript", "messages", "sharegpt")
    for name in ("chosen", "rejected"):
        if name not in feeds and shapes.get(name) not in answers:
            return None
    prompt = _first((*PROMPTS, "text"), shapes, answers)
    return {**_feeds(chosen="chosen", rejected="rejected", prompt=prompt), **feeds}


def _judged(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    judgement = _first(JUDGEMENTS, shapes, ("true or false", "a number"))
    asked = _prompt_completion(shapes, feeds, True)
    if asked is None or not (judgement or "judgement" in feeds):
        return None
    return {**asked, **_feeds(judgement=judgement), **feeds}


def _messages(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    if "messages" in feeds:
        return dict(feeds)
    name = _first(MESSAGES, shapes, ("messages",)) or _first(TEXTS, shapes, ("transcript",))
    return None if name is None else _feeds(messages=name)


def _sharegpt(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    if "conversations" in feeds:
        return dict(feeds)
    name = _first(MESSAGES, shapes, ("sharegpt", "messages"))
    return None if name is None else _feeds(conversations=name)


def _grounded(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    listed = ("list of texts", "list of objects")
    documents = _first(DOCUMENTS, shapes, (*listed, "text") if "documents" in feeds else listed)
    question = _first(PROMPTS, shapes, ("text",))
    answer = _first([name for name in ANSWERS if name != question], shapes, ("text", "messages"))
    found = {**_feeds(question=question, documents=documents, answer=answer), **feeds}
    needed = NEEDED["grounded"] if need_answer else NEEDED["grounded"][:2]
    return found if all(name in found for name in needed) else None


def _alpaca(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    instruction = feeds.get("instruction") or (Feed("instruction") if shapes.get("instruction") == "text" else None)
    if instruction is None:
        return None
    given = _first([name for name in INPUTS if name in shapes], shapes, ("text", "empty", "nothing"))
    if shapes.get("instances") == "list of objects":
        return {"instruction": instruction, **_feeds(instances="instances")}
    output = _first(ANSWERS, shapes, ("text",))
    if output is None and "output" not in feeds and need_answer:
        return None
    return {"instruction": instruction, **_feeds(input=given, output=output)}


def _prompt_completion(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    accepted = ("text", "transcript", "messages")
    prompt = _first(PROMPTS, shapes, accepted)
    answer = _first([name for name in ANSWERS if name != prompt], shapes, accepted)
    if prompt is None and "prompt" not in feeds:
        return None
    if answer is None and "completion" not in feeds and need_answer:
        return None
    return _feeds(prompt=prompt, completion=answer)


def _text(shapes: Shapes, feeds: Feeds, need_answer: bool) -> Found:
    if "text" in feeds:
        return dict(feeds)
    name = _first(TEXTS, shapes, ("text", "transcript"))
    others = [other for other, held in shapes.items() if held in ("text", "transcript") and other != name]
    return None if name is None or set(others) - BESIDE_TEXT else _feeds(text=name)


FINDERS: Mapping[str, Callable[[Shapes, Feeds, bool], Found]] = {
    "preference": _preference,
    "judged": _judged,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "grounded": _grounded,
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
    "text": _text,
}


def _words(name: str, feeds: Feeds, shapes: Shapes) -> str:
    said = {
        "messages": "messages (role/content)",
        "sharegpt": "ShareGPT (from/value)",
        "alpaca": "Alpaca",
        "text": "plain text",
        "grounded": "grounded (a question and documents to answer it from)",
    }
    parts = []
    for key, feed in feeds.items():
        if feed.column is None:
            parts.append(f"{key} from a template over {', '.join(feed.columns)}")
        elif feed.column != key:
            parts.append(f"{key} from column {feed.column!r}")
        elif name in ("prompt-completion", "preference", "judged", "alpaca", "grounded"):
            parts.append(key)
    main = feeds[NEEDED[name][0]].column if NEEDED[name][0] in feeds else None
    words = said.get(name, name)
    if main is not None and shapes.get(main) == "transcript" and name in ("messages", "preference"):
        words = f"{name} written as one text (Human/Assistant turns)"
    return f"{words}: {', '.join(parts)}" if parts else words


def _noted(rows: Sequence[RawRow], chats: Sequence[str] = ()) -> Noted:
    noted = Noted()
    for row in rows:
        noted.note(row, chats)
    return noted


def _unused(noted: Noted, layout: Layout) -> tuple[str, ...]:
    used = {column for feed in layout.feeds.values() for column in feed.columns}
    keys = sorted(noted.message_keys - MESSAGE_KEYS) if layout.chats else ()
    return (*(name for name in noted.columns if name not in used), *(f"message key {key!r}" for key in keys))


def _undetected(rows: Sequence[RawRow], shapes: Shapes, format: str, where: str) -> DataError:
    listed = (
        ", ".join(f"{name} ({held})" for name, held in list(shapes.items())[:20]) or "none that half of the rows have"
    )
    texts = [name for name, held in shapes.items() if held in ("text", "transcript", "a number", "true or false")]
    if format != "auto":
        closest = format
        example = ", ".join(
            f"{name}: {column}" for name, column in zip(NEEDED[format], texts or ("...",), strict=False)
        )
    elif len(texts) == 1:
        closest, example = "text", f"text: {texts[0]}"
    else:
        answer = next((name for name in LABELS if name in texts), texts[-1] if texts else "...")
        others = [name for name in texts if name != answer and shapes[name] == "text"]
        prompt = max(
            others, key=lambda name: sum(len(str(row.columns.get(name))) for row in rows[:LOOKED_AT]), default="..."
        )
        closest, example = "prompt-completion", f"prompt: {prompt}, completion: {answer}"
    found = "the rows fit no known layout" if format == "auto" else f"the rows do not have the layout {format}"
    needs = " and ".join(NEEDED[closest])
    remedy = f"the closest layout is {closest}, which needs {needs}; name its fields: columns: {{{example}}}"
    return DataError(f"{found}; the columns are {listed}", where=where, remedy=remedy)
