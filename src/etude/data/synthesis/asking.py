"""Who writes, who judges and who scores: what a synthesis is given, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

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


@dataclass(frozen=True)
class FunctionWriter:
    """A function of yours, from prompts to texts, as a writer."""

    write: Callable[[list[str]], list[str]]
    name: str = "a function"
    varies: bool = True

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        """What the function writes; its tokens are not counted."""
        texts = self.write(["\n\n".join(text for _, text in ask.messages) for ask in asks])
        return (Reply(text, "stop", 0, 0) for text in texts)

    def cost(self, reply: Reply) -> float:
        """Nothing."""
        return 0.0


@dataclass
class Used:
    """What was asked of one model."""

    answers: int = 0
    tokens_asked: int = 0
    tokens_answered: int = 0
    cost: float = 0.0

    def add(self, reply: Reply, cost: float) -> None:
        """One more answer."""
        self.answers += 1
        self.tokens_asked += reply.tokens_asked
        self.tokens_answered += reply.tokens_answered
        self.cost += cost


@dataclass
class Asked:
    """Everybody who is asked while rows are made."""

    writer: Writer
    judge: Writer | None = None
    reward: Reward | None = None
    reward_name: str = ""
    ended: str = field(default="", init=False)
    """Why somebody can be asked no more; empty as long as all can."""
    _spent: list[Writer] = field(default_factory=list, init=False)
    used: dict[str, Used] = field(default_factory=dict, init=False)
    """What was asked, by whom."""

    def answers(self, writer: Writer, asks: Sequence[Ask]) -> list[Reply | NoReply | None]:
        """An answer for each question; None for those that the budget had nothing left for."""
        found: list[Reply | NoReply | None] = []
        if not any(writer is one for one in self._spent):
            try:
                found.extend(writer.answers(asks))
            except BudgetSpent as spent:
                self.ended = spent.found
                self._spent.append(writer)
        used = self.used.setdefault(writer.name, Used())
        for reply in found:
            if isinstance(reply, Reply):
                used.add(reply, writer.cost(reply))
        return [*found, *[None] * (len(asks) - len(found))]

    def said(self) -> dict[str, Any]:
        """For a manifest: whether everything was asked, and what it took."""
        return {"finished": not self.ended, "used": {name: asdict(used) for name, used in self.used.items()}}
