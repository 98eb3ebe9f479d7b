"""A model's own answers to the given prompts: what a student imitates (https://arxiv.org/abs/1606.07947)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from etude.data.inputs import Row
from etude.data.synthesis.asking import Asked
from etude.data.synthesis.pairs import BATCH, prompts
from etude.data.work import Ledger, Rows
from etude.data.write import columns_for
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.records import Conversation, Message

if TYPE_CHECKING:
    from etude.data.synthesize import Synthesize


def answered(rows: Rows, ledger: Ledger, options: Synthesize, asked: Asked) -> Iterator[Row]:
    """Each row with the model's answer in place of its last one."""
    kept = 0
    asking = prompts(rows, ledger, "answering prompts")
    while kept < options.rows and not asked.ended:
        batch = list(islice(asking, min(BATCH, options.rows - kept)))
        if not batch:
            break
        asks = [
            Ask(tuple((part.role, part.text) for part in prompt), sample=options.seed) for _, prompt in batch
        ]  # fmt: skip
        for (row, prompt), reply in zip(batch, asked.answers(asked.writer, asks), strict=True):
            if reply is None:
                continue  # never asked: the budget was spent before
            if isinstance(reply, NoReply) or reply.finish == "length" or not reply.text.strip():
                found = reply.reason if isinstance(reply, NoReply) else "empty, or cut off at max_tokens"
                ledger.drop(row, "no whole answer", found=found)
                continue
            kept += 1
            ledger.changed("made")
            yield _row(row, prompt, reply, asked, options)
    asking.close()
    ledger.rewritten = True
    ledger.notes["synthesis"] = {**asked.said(), "answers": kept}
    if asked.ended:
        ledger.says.append(f"{kept:,} answers: {asked.ended}; the same command with a larger budget goes on")


def _row(row: Row, prompt: tuple[Message, ...], reply: Reply, asked: Asked, options: Synthesize) -> Row:
    said = (*(replace(part, weight=None) for part in prompt), Message("assistant", reply.text.strip()))
    made = {
        "from": [str(row.origin)],
        "model": asked.writer.name,
        "seed": options.seed,
        "tokens_asked": reply.tokens_asked,
        "tokens_answered": reply.tokens_answered,
        "cost": asked.writer.cost(reply),
    }
    group = row.columns.get("group") or str(row.origin)
    return row.changed({**columns_for(Conversation(said, row.origin)), "group": group, "synthesis": made})
