"""The best and the worst of several answers to each prompt: what preference training learns from."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from etude.data.check import RowError
from etude.data.inputs import Row
from etude.data.synthesis import templates
from etude.data.synthesis.asking import Asked
from etude.data.synthesis.judging import score_of
from etude.data.work import Ledger, Rows
from etude.data.write import columns_for
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.records import Conversation, Message, Preference, Prompt

if TYPE_CHECKING:
    from etude.data.synthesize import Synthesize

BATCH = 16
"""Prompts that are answered together."""
Asking = tuple[Row, tuple[Message, ...]]


def best_and_worst(rows: Rows, ledger: Ledger, options: Synthesize, asked: Asked) -> Iterator[Row]:
    """A preference for each prompt whose answers differ in worth (best of n, https://arxiv.org/abs/2009.01325)."""
    kept = 0
    judge = templates.JUDGE
    if options.judge_template is not None:
        judge = templates.read_template(
            options.judge_template, needs=("prompt", "completion"), setting="--judge-template"
        )
    asking = prompts(rows, ledger, "making pairs")
    while kept < options.rows and not asked.ended:
        batch = list(islice(asking, min(BATCH, options.rows - kept)))
        if not batch:
            break
        for row in _pairs(batch, ledger, options, asked, judge):
            kept += 1
            ledger.changed("made")
            yield row
    asking.close()
    ledger.rewritten = True
    ledger.notes["synthesis"] = {
        **asked.said(),
        "pairs": kept,
        "judge_template": judge if asked.judge is not None else None,
    }
    if asked.ended:
        ledger.says.append(f"{kept:,} pairs: {asked.ended}; the same command with a larger budget goes on")


def prompts(rows: Rows, ledger: Ledger, doing: str) -> Generator[Asking]:
    """Each row's prompt: all that comes before its last answer."""
    for row in rows.each(doing):
        try:
            records = row.records()
        except RowError as error:
            ledger.drop(row, "unusable", found=str(error))
            continue
        found = [prompt for record in records if (prompt := _prompt(record))]
        if not found:
            ledger.drop(row, "no prompt to answer")
        for prompt in found:
            yield row, prompt


def _prompt(record: object) -> tuple[Message, ...]:
    if isinstance(record, Prompt):
        return record.messages
    if isinstance(record, Preference):
        return record.prompt
    if isinstance(record, Conversation):
        last = max(at for at, message in enumerate(record.messages) if message.role == "assistant")
        return record.messages[:last]
    return ()


def _pairs(batch: Sequence[Asking], ledger: Ledger, options: Synthesize, asked: Asked, judge: str) -> Iterator[Row]:
    number = options.best_of
    asks = [
        Ask(tuple((message.role, message.text) for message in prompt), sample=options.seed * number + at)
        for _, prompt in batch
        for at in range(number)
    ]
    replies = asked.answers(asked.writer, asks)
    found: list[tuple[Row, tuple[Message, ...], list[Reply]]] = []
    for place, (row, prompt) in enumerate(batch):
        own = replies[place * number : (place + 1) * number]
        if None in own:
            continue
        told = [reply for reply in own if isinstance(reply, Reply) and reply.finish != "length" and reply.text.strip()]
        if not told:
            refusals = [reply.reason for reply in own if isinstance(reply, NoReply)]
            ledger.drop(row, "no whole answer", found=refusals[0] if refusals else "empty, or cut off at max_tokens")
        elif len({reply.text.strip() for reply in told}) < 2:
            ledger.drop(row, "all answers are the same", answers=[told[0].text])
        else:
            found.append((row, prompt, told))
    scored = _scores([(prompt, reply.text.strip()) for _, prompt, told in found for reply in told], asked, judge)
    rest = iter(scored)
    for row, prompt, told in found:
        scores = [next(rest) for _ in told]
        said = {
            "model": asked.writer.name,
            "judge": asked.reward_name if asked.judge is None else asked.judge.name,
            "seed": options.seed,
            "cost": sum(asked.writer.cost(reply) for reply in told),
        }
        made = _pair(row, prompt, [reply.text.strip() for reply in told], scores, said=said, ledger=ledger)
        if made is not None:
            yield made


def _pair(
    row: Row,
    prompt: tuple[Message, ...],
    answers: Sequence[str],
    scores: Sequence[float],
    *,
    said: dict[str, Any],
    ledger: Ledger,
) -> Row | None:
    """The preference; None where the scores do not tell the answers apart, which the ledger is told."""
    known = [place for place, score in enumerate(scores) if not math.isnan(score)]
    best = max(known, key=lambda place: scores[place], default=0)
    worst = min(known, key=lambda place: scores[place], default=0)
    facts: dict[str, Any] = {"answers": answers, "scores": [None if math.isnan(score) else score for score in scores]}
    if len(known) < 2:
        ledger.drop(row, "no judgement", **facts)
        return None
    if scores[best] == scores[worst] or answers[best] == answers[worst]:
        ledger.drop(row, "no answer is better", **facts)
        return None
    chosen, rejected = (Message("assistant", answers[place]) for place in (best, worst))
    asked = tuple(replace(message, weight=None) for message in prompt)
    columns = columns_for(Preference(asked, (chosen,), (rejected,), row.origin))
    made = {"from": [str(row.origin)], **said, "scores": facts["scores"]}
    group = row.columns.get("group") or str(row.origin)
    return row.changed({**columns, "group": group, "synthesis": made})


def _scores(pairs: Sequence[tuple[tuple[Message, ...], str]], asked: Asked, judge: str) -> list[float]:
    """How good each answer is; NaN where nobody could say."""
    if asked.reward is not None:
        return asked.reward(pairs) if pairs else []
    assert asked.judge is not None
    asks = []
    for prompt, answer in pairs:
        said = prompt[0].text if len(prompt) == 1 else "\n\n".join(f"{part.role}: {part.text}" for part in prompt)
        asks.append(Ask((("user", templates.filled(judge, {"prompt": said, "completion": answer})),)))
    found = []
    for reply in asked.answers(asked.judge, asks):
        score = score_of(reply)
        found.append(math.nan if score is None else float(score))
    return found
