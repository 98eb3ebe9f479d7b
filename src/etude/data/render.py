"""From records to token ids and what to learn of them: the one rendering for training, evaluation, chat and serving.

A chat is encoded between control tokens, never as one string: the template's literals alone can yield control tokens,
everything between two of them is encoded by a tokenizer that has none. An answer starts its own piece, so that what
`prompt` gives is always the beginning of what `row` gives; its end token is learned, what follows is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from etude.data.plain import PROBE, PlainTokenizer
from etude.data.plan import Kitchen, Plan, Skeleton, Step
from etude.data.template import Chat, ChatTemplate
from etude.errors import DataError, ModelError
from etude.records import Conversation, Judged, Message, Preference, Prompt, Record, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

JOINT = 64
"""Characters looked at on either side of where an answer begins."""
SYSTEM = Message("system", "You answer in one short sentence.")
TURNS = (
    Message("user", "Hello there! What is 2 + 2?\nShow your work."),
    Message("assistant", "2 + 2 = 4, because 1 + 1 + 1 + 1 is 4."),
    Message("user", 'Thanks (really): can you say it in French, e.g. "c\'est ..."?'),
    Message("assistant", "C'est quatre"),
)
PROBES = (TURNS[:2], TURNS, (SYSTEM, *TURNS[:2]), (SYSTEM, *TURNS))
THOUGHT = "They ask for a sum. I count on my fingers."


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """One sequence. All tuples have one entry a token."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    """How strongly the prediction of each token is learned; 0 for context, and for the first token always."""
    control: tuple[bool, ...]
    """Whether the token is one of the tokenizer's added tokens."""
    answer_start: int
    """Index of the first learned token; the number of tokens if none is."""

    @property
    def learns(self) -> bool:
        return self.answer_start < len(self.tokens)

    @property
    def num_learned(self) -> int:
        return sum(weight > 0 for weight in self.weights)


class EncodedRow(NamedTuple):
    """The same, in its plainest form: what is learned as (start, stop, weight), in order, none of weight 0."""

    tokens: list[int]
    spans: list[tuple[int, int, float]]

    @property
    def learns(self) -> bool:
        return any(weight > 0 for _, _, weight in self.spans)


class Renderer:
    """Renders with a tokenizer and its own chat template.

    The template is proven equal to the tokenizer's `apply_chat_template` on probe chats; one that is not is refused by
    name (ModelError) when the first conversation comes. Plain text works with any tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.plain = PlainTokenizer(tokenizer)
        self.control_ids = self.plain.control_ids
        self._kitchen = Kitchen(self._literal, self.plain.prefix_after_control, self.plain.prefix_at_start)
        self._before_text = self._text_opening()
        self.num_opening = len(self._before_text)
        """Tokens that the tokenizer puts before a plain text."""
        self._template: ChatTemplate | None = None
        self._refusal: ModelError | None = None
        self.template_sha256 = ""
        """Of the chat template; empty if the tokenizer has none."""
        eos = tokenizer.eos_token_id
        self.end_ids: frozenset[int] = frozenset() if eos is None else frozenset((int(eos),))
        """Tokens that end an answer: where sampling stops."""
        try:
            self._template = ChatTemplate(tokenizer, self.plain)
            self.template_sha256 = self._template.sha256
            self._prove(self._template)
        except ModelError as error:
            self._refusal = error

    def row(self, record: Record) -> RenderedRow:
        """A Conversation or Text as one sequence; DataError if the template refuses the row."""
        (row,) = self.rows(record)
        return row

    def rows(self, record: Record) -> tuple[RenderedRow, ...]:
        """The record's sequences: one; (chosen, rejected) for a Preference; for a Judged row the answer, and after the
        same prompt the answer to the next row's (its own where there is no other)."""
        return tuple(self.encode(self.plans(record)))

    def prompt(self, messages: Sequence[Message], tools: Sequence[str] = ()) -> tuple[int, ...]:
        """The chat so far and the opening of the assistant's next message: the beginning of the row it would become."""
        plan = self._chat(messages, tools, answer=True)
        return self.encode((plan,))[0].tokens

    def text(self, text: str) -> tuple[int, ...]:
        """The beginning of a plain text, which something is to continue: the row's without its end."""
        prefix = self.plain.prefix_after_control if self._before_text else self.plain.prefix_at_start
        return (*self._before_text, *self.plain.encode([text], prefix=prefix)[0])

    def plans(self, record: Record) -> tuple[Plan, ...]:
        """What `encode` turns into the record's sequences."""
        (found,) = self.plan_all([record])
        if isinstance(found, DataError):
            raise found
        return found

    def plan_all(self, records: Sequence[Record]) -> list[tuple[Plan, ...] | DataError]:
        """Each record's plans, or why the template refuses it; many at once cost less than one by one."""
        found: list[tuple[Plan, ...] | DataError] = []
        others = _next_judged(records)
        chats: dict[bool, list[tuple[int, Chat]]] = {False: [], True: []}
        for at, record in enumerate(records):
            found.append(())
            if isinstance(record, Text):
                found[at] = (self._text(record),)
            elif isinstance(record, Prompt):
                chats[True].append((at, (_only_read(record.messages), record.tools)))
            elif isinstance(record, Conversation | Preference | Judged):
                chats[False] += [(at, chat) for chat in _chats(record, others.get(at))]
            else:
                kind = type(record).__name__
                found[at] = DataError(f"{kind} rows are not learned from as they are", where=str(record.origin))
        for answer, asked_for in chats.items():
            plans = self._chats([chat for _, chat in asked_for], answer=answer) if asked_for else ()
            for (at, _), plan in zip(asked_for, plans, strict=True):
                before = found[at]
                if not isinstance(before, DataError):
                    found[at] = plan if isinstance(plan, DataError) else (*before, plan)
        return found

    def encode(self, plans: Sequence[Plan]) -> list[RenderedRow]:
        """All plans at once, ready to be looked at token by token."""
        return list(map(self.rendered, self.encoded(plans)))

    def rendered(self, row: EncodedRow) -> RenderedRow:
        """A row with an entry for each token."""
        weights = [0.0] * len(row.tokens)
        for start, stop, weight in row.spans:
            weights[start:stop] = [weight] * (stop - start)
        first = next((start for start, _, weight in row.spans if weight > 0), len(weights))
        control = tuple(map(self.control_ids.__contains__, row.tokens))
        return RenderedRow(tuple(row.tokens), tuple(weights), control, first)

    def encoded(self, plans: Sequence[Plan]) -> list[EncodedRow]:
        """All plans at once: each distinct piece of text is encoded one time."""
        known: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
        for prefix in (False, True):
            texts = list(
                {step.text: None for plan in plans for step in plan if step.tokens is None and step.prefix == prefix}
            )
            known[prefix].update(zip(texts, self._pieces(texts, prefix), strict=True))
        return [_assembled(plan, known) for plan in plans]

    def _pieces(self, texts: Sequence[str], prefix: bool) -> list[list[int]]:
        """Token ids of each text, among them no control token."""
        found = self.plain.encode(texts, prefix=prefix)
        for text, tokens in zip(texts, found, strict=True):
            if not self.plain.forbidden_ids.isdisjoint(tokens):
                raise DataError(
                    f"the text {text[:60]!r} encodes to a control token", remedy="please report this tokenizer"
                )
        return found

    def _literal(self, text: str, prefix: bool) -> tuple[int, ...]:
        return tuple(self._pieces([text], prefix)[0])

    def odd(self, plans: Sequence[Plan]) -> tuple[list[int], list[int]]:
        """Indices of the plans that the tokenizer would encode otherwise as one string, which Etude never does.

        First those whose content spells a control token; then those whose answer would merge with the template's text
        before it (an answer that begins with a line break, say).
        """
        spelt = [at for at, plan in enumerate(plans) if any(self.plain.spells_control(step.text) for step in plan)]
        joints = {
            (before.text[-JOINT:], after.text[:JOINT], before.prefix and len(before.text) <= JOINT): None
            for plan in plans
            for before, after in pairwise(plan)
            if before.text and after.text
        }
        merging: set[tuple[str, str]] = set()
        for prefix in (False, True):
            pairs = [(left, right) for left, right, at_start in joints if at_start == prefix]
            whole = self.plain.encode([left + right for left, right in pairs], prefix=prefix)
            lefts = self._each([left for left, _ in pairs], prefix=prefix)
            rights = self._each([right for _, right in pairs])
            together = zip(pairs, whole, strict=True)
            merging.update(pair for pair, joined in together if joined != lefts[pair[0]] + rights[pair[1]])
        merged = [at for at, plan in enumerate(plans) if merging and not merging.isdisjoint(_joints(plan))]
        return spelt, merged

    def _each(self, texts: Sequence[str], *, prefix: bool = False) -> dict[str, list[int]]:
        """Token ids by text."""
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self.plain.encode(distinct, prefix=prefix), strict=True))

    def _text(self, record: Text) -> Plan:
        eos = self.tokenizer.eos_token_id
        if eos is None:
            raise ModelError("the tokenizer has no end-of-text token", where=str(self.tokenizer.name_or_path))
        steps = [Step(0.0, tokens=(token,)) for token in self._before_text]
        prefix = self.plain.prefix_after_control if steps else self.plain.prefix_at_start
        steps += [Step(1.0, text=record.text, prefix=prefix), Step(1.0, tokens=(int(eos),))]
        return tuple(steps)

    def _text_opening(self) -> tuple[int, ...]:
        """What the tokenizer itself puts before a text: BOS, or nothing."""
        bare = self.plain.full.encode(PROBE, add_special_tokens=False).ids
        whole = self.plain.full.encode(PROBE, add_special_tokens=True).ids
        at = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
        opening: tuple[int, ...] = tuple(whole[:at])
        if len(opening) > 1 and len(set(opening)) < len(opening):
            raise ModelError(
                "the tokenizer puts more than one BOS before a text", where=str(self.tokenizer.name_or_path)
            )
        return opening

    def _chat(self, messages: Sequence[Message], tools: Sequence[str] = (), *, answer: bool = False) -> Plan:
        (plan,) = self._chats([(messages, tools)], answer=answer)
        if isinstance(plan, DataError):
            raise plan
        return plan

    def _chats(self, chats: Sequence[Chat], *, answer: bool = False) -> list[Plan | DataError]:
        if self._refusal is not None or self._template is None:
            raise self._refusal or ModelError("no chat template")
        filled = self._template.fill_all(chats, answer=answer)
        return [
            found if isinstance(found, DataError) else self._planned(*found, messages, answer=answer)
            for found, (messages, _) in zip(filled, chats, strict=True)
        ]

    def _planned(
        self, skeleton: Skeleton, contents: Sequence[str], messages: Sequence[Message], *, answer: bool
    ) -> Plan | DataError:
        for at, ending in skeleton.endings.items():
            if ending is None and messages[at].role == "assistant":
                return DataError(
                    f"the chat template puts no end token behind message {at + 1}, so no end would be learned"
                )
        return self._kitchen.steps(skeleton, contents, messages, answer=answer)

    def _prove(self, template: ChatTemplate) -> None:
        """Raise ModelError unless the probe chats come out exactly as the tokenizer's own rendering."""
        where = f"chat template of {self.tokenizer.name_or_path or 'the tokenizer'}"
        remedy = "use a base model with another template"
        endings: set[int] = set()
        for probe in PROBES:
            try:
                skeleton = self._proven(probe, template)
            except DataError as error:
                if probe == PROBES[0]:
                    raise ModelError(f"refused: {error}", where=where, remedy=remedy) from None
                continue
            endings.update(
                token for at, token in skeleton.endings.items() if token is not None and probe[at].role == "assistant"
            )
        template.learn_endings(frozenset(endings))
        self.end_ids |= frozenset(endings)

    def _proven(self, probe: Sequence[Message], template: ChatTemplate) -> Skeleton:
        """The skeleton of one probe chat: it and its prompt equal the tokenizer's own, with one BOS and one opening.

        A template that opens the thinking itself is proven by an answer that was thought about.
        """
        failure: DataError | ModelError | None = None
        thought = (*probe[:-1], replace(probe[-1], reasoning=THOUGHT))
        for chat in (probe, thought) if template.knows_reasoning else (probe,):
            try:
                skeleton, _ = template.fill(chat)
                problem = self._difference(chat, template.own(chat))
            except DataError as error:
                failure = error
                continue
            if problem is None:
                return skeleton
            where = f"chat template of {self.tokenizer.name_or_path or 'the tokenizer'}"
            failure = ModelError(f"refused: {problem}", where=where, remedy="use a base model with another template")
        assert failure is not None
        raise failure

    def _difference(self, probe: Sequence[Message], text: str) -> str | None:
        """How a chat differs from the template's own text of it, if it does."""
        plan = self._chat(probe)
        row = self.encode((plan,))[0]
        own: list[int] = self.plain.full.encode(text, add_special_tokens=False).ids
        bos = self.tokenizer.bos_token_id
        if row.tokens[:2] == (bos, bos):
            return "it begins with more than one BOS"
        if list(row.tokens) != own:
            at = next(
                (at for at, pair in enumerate(zip(row.tokens, own, strict=False)) if pair[0] != pair[1]), len(own)
            )
            near = self.plain.decode(own[max(0, at - 3) : at + 3])
            return f"encoded piece by piece it differs from the tokenizer's own rendering near {near!r}"
        last = self.encode((self._chat((*_only_read(probe[:-1]), probe[-1])),))[0]
        if self.prompt(probe[:-1]) != last.tokens[: last.answer_start]:
            return "its generation prompt is not how it begins the same answer in a finished chat"
        return None


def _joints(plan: Plan) -> list[tuple[str, str]]:
    pairs = pairwise(plan)
    return [(left.text[-JOINT:], right.text[:JOINT]) for left, right in pairs if left.text and right.text]


def _next_judged(records: Sequence[Record]) -> dict[int, Judged]:
    """For each judged row the next one, the first after the last."""
    judged = [(at, record) for at, record in enumerate(records) if isinstance(record, Judged)]
    following = judged[1:] + judged[:1]
    return {at: other for (at, _), (_, other) in zip(judged, following, strict=True)}


def _chats(record: Conversation | Preference | Judged, other: Judged | None) -> list[Chat]:
    if isinstance(record, Conversation):
        return [(record.messages, record.tools)]
    asked = _only_read(record.prompt)
    if isinstance(record, Judged):
        return [(asked + record.answer, record.tools), (asked + (other or record).answer, record.tools)]
    return [(asked + record.chosen, record.tools), (asked + record.rejected, record.tools)]


def _only_read(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages as context, of which nothing is learned."""
    return tuple(replace(message, weight=0.0, reasoning_weight=None) for message in messages)


def _assembled(plan: Plan, known: Sequence[Mapping[str, Sequence[int]]]) -> EncodedRow:
    tokens: list[int] = []
    spans: list[tuple[int, int, float]] = []
    for step in plan:
        start = len(tokens)
        tokens += known[step.prefix][step.text] if step.tokens is None else step.tokens
        if not step.weight or len(tokens) <= max(start, 1):  # nothing predicts the first token
            continue
        begun = max(start, 1)
        if spans and spans[-1][1:] == (begun, step.weight):
            begun = spans.pop()[0]
        spans.append((begun, len(tokens), step.weight))
    return EncodedRow(tokens, spans)
