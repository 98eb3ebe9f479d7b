"""Requests in a model's words, or translated there and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etude.data.reasoning import without_reasoning
from etude.endpoints.exchange import Ask, NoReply, Reply

if TYPE_CHECKING:
    from etude.data.synthesis.asking import Asked

REWRITE = "Say this in other words. Keep every name, number and detail. Answer with the new wording only.\n\n{text}"
TRANSLATE = "Translate into {language}. Answer with the translation only.\n\n{text}"


def reworded(texts: Sequence[str], asked: Asked) -> list[str | None]:
    """Each text in other words; empty where there was no whole answer, None where nothing more could be asked."""
    return _told([REWRITE.format(text=text) for text in texts], asked)


def translated_back(texts: Sequence[str], asked: Asked, *, language: str, through: str) -> list[str | None]:
    """Each text by way of another language (https://arxiv.org/abs/1511.06709); empty and None as above."""
    there = _told([TRANSLATE.format(language=through, text=text) for text in texts], asked)
    back = iter(_told([TRANSLATE.format(language=language, text=text) for text in there if text], asked))
    return [next(back) if text else text for text in there]


def _told(prompts: Sequence[str], asked: Asked) -> list[str | None]:
    times: Counter[str] = Counter()
    asks = []
    for prompt in prompts:
        asks.append(Ask((("user", prompt),), sample=times[prompt]))
        times[prompt] += 1
    return [None if reply is None else _text(reply) for reply in asked.answers(asked.writer, asks)]


def _text(reply: Reply | NoReply) -> str:
    if isinstance(reply, NoReply) or reply.finish == "length":
        return ""
    return without_reasoning(reply.text).strip()
