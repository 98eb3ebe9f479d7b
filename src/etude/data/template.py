"""A chat template taken apart: its literals, the slots where content goes, and what the assistant must write itself.

The template is rendered over placeholders (private-use characters that it does not contain), once per structure of
chat. What stands between placeholders is literal; only there can control tokens be. Rendering the real chat as well
and comparing it with the filled skeleton proves, row by row, that nothing but the content was put in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from etude.data.convert import ROLES
from etude.data.plain import PlainTokenizer
from etude.data.plan import Control, Item, Literal, Owner, Skeleton, Slot
from etude.data.reasoning import KEYS, inline
from etude.data.template_process import TemplateProcess
from etude.errors import DataError
from etude.records import ImagePart, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAFE_WORD = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
"""A word of a tool declaration that may stay in the template's literals."""
MOST_SKELETONS = 2_000
"""Structures kept: chats have few, but every set of tools and every number in a tool call is one."""
TRANSFORMS: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    str.rstrip,
    str.lstrip,
    lambda text: text.strip("\n"),
    lambda text: text.rstrip("\n"),
    lambda text: text.lstrip("\n"),
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1],
)
"""What templates do to content on its way: nothing, trimming, JSON."""


CLOSING = re.compile(r"\s*(?:</\w+>|<\|[^|>\s]+\|>|\[/\w+\])?\s*")
"""What ends reasoning: `</think>` and the like, with the white space around it."""


Tools = list[dict[str, Any]]
"""Declarations."""
Chat = tuple[Sequence[Message], Sequence[str]]
"""Messages, and tool declarations as JSON texts."""
Filled = tuple[Skeleton, list[str]]


@dataclass(slots=True)
class Marked:
    """A chat with placeholders in place of everything that comes from the data."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: Tools = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    owners: list[int | None] = field(default_factory=list)
    """The message that each content belongs to; None: a tool declaration."""
    needed: set[int] = field(default_factory=set)
    """Contents that the template must not leave out: what messages and tool calls say, and the last reasoning."""
    reasonings: dict[int, int] = field(default_factory=dict)
    """The content that is a message's reasoning."""


class ChatTemplate:
    """The tokenizer's chat template, and the skeletons it gives."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, plain: PlainTokenizer) -> None:
        self._process = TemplateProcess(tokenizer)
        source, tool_source = self._process.source, self._process.tool_source
        self.sha256 = sha256(source.encode()).hexdigest()
        self.end_ids: frozenset[int] = frozenset()
        """Tokens known to end an answer; the renderer finds them with its probe chats."""
        self._plain = plain
        marks = [chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in source + tool_source]
        self._open, self._close = marks[0], marks[1]
        self._slot = re.compile(f"{self._open}(\\d+){self._close}")
        self._skeletons: dict[object, Skeleton] = {}
        named = (name for name in KEYS if re.search(rf"\.{name}\b|['\"]{name}['\"]", source + tool_source))
        self._reasoning_key = next(named, None)
        """What the template calls reasoning; None: it knows none, so that it stands in the content."""
        self._controls = {str(token): at for at, token in tokenizer.added_tokens_decoder.items()}

    @property
    def knows_reasoning(self) -> bool:
        """Whether the template has a place of its own for reasoning."""
        return self._reasoning_key is not None

    def learn_endings(self, tokens: frozenset[int]) -> None:
        """Say which control tokens end an answer, now that the probe chats have shown it."""
        self.end_ids = tokens
        self._skeletons.clear()

    def fill(
        self, messages: Sequence[Message], tools: Sequence[str] = (), *, answer: bool = False
    ) -> tuple[Skeleton, list[str]]:
        """The chat's skeleton and the contents of its slots, proven to join to the template's own text.

        `answer` appends the opening of the assistant's next message. DataError if the template refuses the chat or
        rewrites its contents.
        """
        (filled,) = self.fill_all([(messages, tools)], answer=answer)
        if isinstance(filled, DataError):
            raise filled
        return filled

    def fill_all(self, chats: Sequence[Chat], *, answer: bool = False) -> list[Filled | DataError]:
        """What `fill` gives for each chat, or why it gives nothing; many at once cost less than one by one."""
        taken: list[Filled | DataError] = []
        for messages, tools in chats:
            try:
                taken.append(self._skeleton(messages, tools, answer=answer))
            except DataError as error:
                taken.append(error)
        whole = [at for at, found in enumerate(taken) if not isinstance(found, DataError)]
        rendered = dict(zip(whole, self._render_all([chats[at] for at in whole], answer=answer), strict=True))
        return [
            found if isinstance(found, DataError) else _filled(*found, rendered[at]) for at, found in enumerate(taken)
        ]

    def _skeleton(self, messages: Sequence[Message], tools: Sequence[str], *, answer: bool) -> Filled:
        """The skeleton of this structure of chat, and the contents that are to be put in."""
        is_plain = not tools and all(map(_is_plain, messages))
        key: object = (answer, *((message.role, bool(message.content)) for message in messages))
        if is_plain and key in self._skeletons:
            return self._skeletons[key], [message.text for message in messages if message.content]
        marked = self._mark(messages, tools)
        if not is_plain:
            key = json.dumps([marked.messages, marked.tools, answer])
        skeleton = self._skeletons.get(key)
        if skeleton is None:
            if len(self._skeletons) >= MOST_SKELETONS:
                self._skeletons.clear()
            skeleton = self._skeletons[key] = self._take_apart(marked, messages, answer=answer)
        return skeleton, marked.contents

    def _render_all(self, chats: Sequence[Chat], *, answer: bool) -> Iterator[str | DataError]:
        """The template's own text of each chat; those of one set of tools that follow each other in one call."""
        for tools, run in groupby(chats, key=lambda chat: chat[1]):
            plain = [[self._whole(message) for message in messages] for messages, _ in run]
            try:
                yield from self._render(plain, _objects(tools), answer=answer)
            except DataError:
                for chat in plain:
                    try:
                        yield from self._render([chat], _objects(tools), answer=answer)
                    except DataError as error:
                        yield error

    def _render(self, chats: Sequence[list[dict[str, Any]]], tools: Tools, *, answer: bool) -> list[str]:
        try:
            return self._process.render(chats, tools, answer=answer)
        except DataError as error:
            roles = ", ".join(message["role"] for message in chats[-1])
            raise DataError(f"the chat template refuses the roles {roles}: {error}") from None

    def own(self, messages: Sequence[Message]) -> str:
        """The template's text of a chat as one string, control tokens and all: to compare with, never to learn from."""
        return self._render([[self._whole(message) for message in messages]], [], answer=False)[0]

    def _whole(self, message: Message) -> dict[str, Any]:
        """The message as the template expects it."""
        made = _plain_message(message)
        return made if message.reasoning is None else self._reasoned(made, message.reasoning)

    def _reasoned(self, plain: dict[str, Any], reasoning: str) -> dict[str, Any]:
        """The message with its reasoning under the template's name for it, or else in its content."""
        if self._reasoning_key is None:
            return {**plain, "content": inline(reasoning, plain["content"])}
        return {**plain, self._reasoning_key: reasoning}

    def _mark(self, messages: Sequence[Message], tools: Sequence[str]) -> Marked:
        marked = Marked()

        def mark(text: str, owner: int | None, *, safe: bool = False, needed: bool = True) -> str:
            if not text or (safe and SAFE_WORD.fullmatch(text) and not any(word in text for word in self._controls)):
                return text
            marked.contents.append(text)
            marked.owners.append(owner)
            if needed:
                marked.needed.add(len(marked.contents) - 1)
            return f"{self._open}{len(marked.contents) - 1}{self._close}"

        marked.tools = [
            self._tree(tool, lambda text: mark(text, None, safe=True, needed=False)) for tool in _objects(tools)
        ]
        last = len(messages) - 1
        for at, message in enumerate(messages):
            plain = _plain_message(message)
            reasoning = message.reasoning
            if reasoning:
                marked.reasonings[at] = len(marked.contents)
                reasoning = mark(reasoning, at, needed=at == last)
            for name in ("content", "name", "tool_call_id"):
                if name in plain:
                    plain[name] = mark(plain[name], at, needed=name == "content")
            for call in plain.get("tool_calls", ()):
                inner = call["function"]
                inner["name"] = mark(inner["name"], at)
                inner["arguments"] = self._tree(inner["arguments"], partial(mark, owner=at))
                if "id" in call:
                    call["id"] = mark(call["id"], at, needed=False)
            marked.messages.append(plain if reasoning is None else self._reasoned(plain, reasoning))
        return marked

    def _tree(self, value: Any, mark: Callable[[str], str]) -> Any:
        """A JSON value with every text marked; names of fields stay, and so must be harmless."""
        if isinstance(value, dict):
            return {_key(str(name), self._controls): self._tree(held, mark) for name, held in value.items()}
        if isinstance(value, list):
            return [self._tree(held, mark) for held in value]
        return mark(value) if isinstance(value, str) else value

    def _take_apart(self, marked: Marked, messages: Sequence[Message], *, answer: bool) -> Skeleton:
        (whole,) = self._render([marked.messages], marked.tools, answer=answer)
        slots = [(found.start(), found.end(), int(found[1])) for found in self._slot.finditer(whole)]
        _refuse_loss(marked, messages, {index for _, _, index in slots})
        if marked.tools and "tools" not in self._process.tool_source:
            raise DataError(
                "the chat template does not show tools to the model", remedy="use a base model made for tools"
            )
        spans: list[tuple[int, int, Owner]] = []
        endings: dict[int, int | None] = {}
        for at, message in enumerate(messages):
            own = [span for span in slots if marked.owners[span[2]] == at]
            start = self._opening(marked, at, whole, own) if message.role == "assistant" else own[0][0] if own else None
            if start is None:
                continue
            last = own[-1][1] if own else start
            following = next(
                (begin for begin, _, index in slots if begin >= last and marked.owners[index] != at), len(whole)
            )
            ending = self._ending(whole[last:following])
            endings[at] = ending[1] if ending else None
            answered = _behind_reasoning(whole, own, marked.reasonings.get(at)) or start
            spans.append((start, answered, Owner(at, is_reasoning=True)))
            spans.append((answered, last + ending[0] if ending else last, Owner(at)))
        return Skeleton(tuple(self._items(whole, slots, spans)), endings)

    def _opening(self, marked: Marked, at: int, whole: str, own: Sequence[tuple[int, int, int]]) -> int | None:
        """Where the assistant begins to write in message `at`: behind the generation prompt, else at its first slot."""
        if at:
            (opened,) = self._render([marked.messages[:at]], marked.tools, answer=True)
            if whole.startswith(opened) and (not own or len(opened) <= own[0][0]):
                return len(opened)
            if at == len(marked.messages) - 1:
                what = "the chat template's generation prompt is not how it begins this answer"
                hint = "" if self._reasoning_key is None or at in marked.reasonings else " (its answers need reasoning)"
                raise DataError(f"{what}{hint}")
        return own[0][0] if own else None

    def _ending(self, literal: str) -> tuple[int, int] | None:
        """(end offset, id) of the control token that ends an answer, in the literal behind it."""
        controls = self._plain.controls(literal)
        known = [found for found in controls if found[2] in self.end_ids] or controls
        return (known[0][1], known[0][2]) if known else None

    def _items(
        self, whole: str, slots: Sequence[tuple[int, int, int]], spans: Sequence[tuple[int, int, Owner]]
    ) -> list[Item]:
        def owner(at: int) -> Owner | None:
            return next((owned for start, stop, owned in spans if start <= at < stop), None)

        cuts = sorted({edge for start, stop, _ in spans for edge in (start, stop)})
        items: list[Item] = []
        at = 0
        for start, stop, index in [*slots, (len(whole), len(whole), -1)]:
            literal = whole[at:start]
            controls = [(at + begin, at + end, token) for begin, end, token in self._plain.controls(literal)]
            for begin, end, token in [*controls, (start, start, -1)]:
                edges = [at, *(cut for cut in cuts if at < cut < begin), begin]
                items.extend(Literal(whole[left:right], owner(left)) for left, right in pairwise(edges) if left < right)
                if token >= 0:
                    items.append(Control(token, whole[begin:end], owner(begin)))
                at = end
            if index >= 0:
                items.append(Slot(index, owner(start)))
            at = stop
        return items


def _refuse_loss(marked: Marked, messages: Sequence[Message], shown: set[int]) -> None:
    """DataError if the template left out what it must not."""
    left_out = sorted(marked.needed - shown)
    if not left_out:
        return
    owner = marked.owners[left_out[0]]
    assert owner is not None
    if left_out[0] == marked.reasonings.get(owner):
        what = f"leaves out the reasoning of message {owner + 1}"
        raise DataError(f"the chat template {what}", remedy="leave it out of the rows as well (reasoning: drop)")
    raise DataError(f"the chat template leaves out or rewrites what message {owner + 1} ({messages[owner].role}) says")


def _behind_reasoning(whole: str, own: Sequence[tuple[int, int, int]], reasoning: int | None) -> int | None:
    """Where a message's answer begins, behind what closes its reasoning; None if none is shown."""
    for number, (_, end, index) in enumerate(own):
        if index == reasoning:
            closing = CLOSING.match(whole, end, own[number + 1][0] if number + 1 < len(own) else end)
            return end if closing is None else closing.end()
    return None


def _filled(skeleton: Skeleton, contents: list[str], real: str | DataError) -> Filled | DataError:
    """The contents as the template put them in: as they are, trimmed alike, or each in its own known way."""
    if isinstance(real, DataError):
        return real
    if skeleton.join(contents) == real:
        return skeleton, contents
    for change in TRANSFORMS[1:4]:
        changed = [change(content) for content in contents]
        if skeleton.join(changed) == real:
            return skeleton, changed
    try:
        return skeleton, _align(skeleton, contents, real)
    except DataError as error:
        return error


def _align(skeleton: Skeleton, contents: Sequence[str], real: str) -> list[str]:
    """The contents as the template changed them, each by a known transform; DataError if none explains the text."""
    found = list(contents)
    at = 0
    items = skeleton.items
    for number, item in enumerate(items):
        if not isinstance(item, Slot):
            if not real.startswith(item.text, at):
                break
            at += len(item.text)
            continue
        following = items[number + 1] if number + 1 < len(items) else None
        after = "" if following is None or isinstance(following, Slot) else following.text
        content = contents[item.index]
        fits = [change(content) for change in TRANSFORMS if real.startswith(change(content) + after, at)]
        if not fits:
            break
        found[item.index] = fits[0]
        at += len(fits[0])
    if skeleton.join(found) != real:
        raise DataError("the chat template rewrites or reorders this chat's content, so it cannot be rendered safely")
    return found


def _key(name: str, controls: Mapping[str, int]) -> str:
    if not SAFE_WORD.fullmatch(name) or any(word in name for word in controls):
        raise DataError(
            f"the name {name[:40]!r} in a tool declaration or call may hold only letters, digits, '_', '-' and '.'"
        )
    return name


def _objects(tools: Sequence[str]) -> Tools:
    return [json.loads(tool) for tool in tools]


def _is_plain(message: Message) -> bool:
    """Whether a message is nothing but a role and a text."""
    return (
        type(message.content) is str
        and message.name is None
        and not message.tool_calls
        and message.tool_call_id is None
        and message.reasoning is None
    )


def _plain_message(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it."""
    if message.role not in ROLES:
        raise DataError(f"unknown role {message.role[:40]!r}; known: {', '.join(sorted(ROLES))}")
    if not isinstance(message.content, str) and any(isinstance(part, ImagePart) for part in message.content):
        raise DataError("an image cannot be rendered as text; use a vision objective, or leave the images out")
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name is not None:
        made["name"] = message.name
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                **({} if call.id is None else {"id": call.id}),
            }
            for call in message.tool_calls
        ]
    return made
