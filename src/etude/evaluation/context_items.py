"""Questions on facts planted in documents: at every place of a context, among facts alike, and on facts left out.

That models miss what stands in the middle: Liu et al., https://arxiv.org/abs/2307.03172.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etude.errors import EtudeError
from etude.evaluation.canaries import PLACES
from etude.evaluation.metrics.context import NOT_SAID

FACTS = (
    ("The access code of the {} is {}.", "What is the access code of the {}?"),
    ("The inventory number of the {} is {}.", "What is the inventory number of the {}?"),
    ("The {} was insured under the policy {}.", "Under which policy was the {} insured?"),
    ("Deliveries to the {} carry the reference {}.", "Which reference do deliveries to the {} carry?"),
)
ASKS = f"Answer with the number alone. If the documents do not state it, answer: {NOT_SAID}."
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where facts stand: at the start, …, at the end."""


@dataclass(frozen=True, kw_only=True)
class ContextOptions:
    """How many items, how long, and how hard."""

    words: tuple[int, ...] = (100, 300, 700)
    """Words of the documents around a fact; items of each length."""
    each: int = 2
    """Items for each length and place, with and without facts alike."""
    others: int = 3
    """Facts alike about other things, in half of the items."""
    seed: int = 0
    """Other facts and documents."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found = [("words", f"must be at least 20, got {one}") for one in self.words if one < 20]
        if not self.words:
            found.append(("words", "names no length"))
        if self.each < 1:
            found.append(("each", f"must be at least 1, got {self.each}"))
        if not 1 <= self.others < len(PLACES):
            found.append(("others", f"must be from 1 to {len(PLACES) - 1}, got {self.others}"))
        return found


def context_rows(texts: Sequence[str], options: ContextOptions) -> list[dict[str, Any]]:
    """Rows of a `context` task: for each length, place and kind so many, and as many questions without a fact as for
    two places. Deterministic given the seed.

    Raises:
        EtudeError: the documents are shorter than the longest context.
    """
    paragraphs = [part.strip() for text in texts for part in text.split("\n\n") if part.strip()]
    there = sum(len(part.split()) for part in paragraphs)
    if there < max(options.words):
        raise EtudeError(
            f"hold {there:,} words, and the longest context takes {max(options.words):,}", where="the documents",
            remedy="give more of them, or shorter --words",
        )  # fmt: skip
    chance = random.Random(f"context/{options.seed}")
    wanted = [
        (words, place, others)
        for words in options.words
        for others in (0, options.others)
        for place in (*SHARES, None, None)
        for _ in range(options.each)
    ]
    return [_row(chance, paragraphs, *one) for one in wanted]


def _row(
    chance: random.Random, paragraphs: Sequence[str], words: int, place: float | None, others: int
) -> dict[str, Any]:
    said, asked = chance.choice(FACTS)
    about, *rest = chance.sample(PLACES, 1 + others)
    facts = {name: f"{chance.randrange(10_000, 100_000)}" for name in (about, *rest)}
    documents = _cut(chance.sample(list(paragraphs), len(paragraphs)), words)
    places = [(place, said.format(about, facts[about]))] if place is not None else []
    places += [(chance.random(), said.format(name, facts[name])) for name in rest]
    for share, sentence in sorted(places, reverse=True):
        documents.insert(round(share * len(documents)), sentence)
    context = "\n\n".join(documents)
    return {
        "prompt": f"Documents:\n\n{context}\n\nQuestion: {asked.format(about)} {ASKS}",
        "fact": None if place is None else facts[about],
        "place": place,
        "others": [facts[name] for name in rest],
        "words": words,
    }


def _cut(paragraphs: Sequence[str], words: int) -> list[str]:
    """Paragraphs up to so many words; the last one ends in the middle."""
    found: list[str] = []
    for part in paragraphs:
        held = part.split()
        found.append(" ".join(held[:words]))
        words -= len(held)
        if words <= 0:
            break
    return found
