"""Who writes, who judges and who scores: what a synthesis is given, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.endpoints.limits import BudgetSpent
from etude.records import Message

Reward = Callable[[Sequence[tuple[tuple[Message, ...], str]]], list[float]]
"""From (prompt, answer) pairs to how good each answer is."""


class Writer(Protocol):
    """A model that answers: behind an endpoint, or on this machine."""

    @property
    def name(self) -> str:
        """As rows say who wrote them."""
        ...

    @property
    def varies(self) -> bool:
        """Whether several answers to one question may differ."""
        ...

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        """An answer for each question, in order; BudgetSpent where no more may be asked."""
        ...

    def cost(self, reply: Reply) -> float:
        """What the answer costs by the writer's prices, wherever it was paid."""
        ...


@dataclass
class Asked:
    """Everybody who is asked while rows are made."""

    writer: Writer
    judge: Writer | None = None
    reward: Reward | None = None
    reward_name: str = ""
    ended: str = field(default="", init=False)
    """Why nothing more can be asked; empty as long as it can."""

    def answers(self, writer: Writer, asks: Sequence[Ask]) -> list[Reply | NoReply | None]:
        """An answer for each question; None for those that the budget had nothing left for."""
        found: list[Reply | NoReply | None] = []
        if not self.ended:
            try:
                found.extend(writer.answers(asks))
            except BudgetSpent as spent:
                self.ended = spent.found
        return [*found, *[None] * (len(asks) - len(found))]
