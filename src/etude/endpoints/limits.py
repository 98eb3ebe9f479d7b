"""How fast an endpoint is asked, and how much in all: requests wait for their turn, or are not sent any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from etude.endpoints.options import EndpointOptions
from etude.errors import EtudeError


class BudgetSpent(EtudeError):
    """No further request may be sent; answers that came before are good, and kept where there is a cache."""


@dataclass
class Spent:
    """What was used so far."""

    requests: int = 0
    tokens_asked: int = 0
    tokens_answered: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_asked + self.tokens_answered


@dataclass
class Pace:
    """Spreads requests evenly over each minute; a pause that the server asks for holds for all of them."""

    options: EndpointOptions
    _next: float = 0.0
    _held_until: float = 0.0

    async def turn(self, tokens: int) -> None:
        """Waits until a request of so many tokens may be sent."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + max(self._seconds_each(), self._seconds_for(tokens))
        await asyncio.sleep(start - now)
        while (left := self._held_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    def hold(self, seconds: float) -> None:
        """Nobody sends for so long."""
        self._held_until = max(self._held_until, asyncio.get_running_loop().time() + seconds)

    def give_back(self, tokens: int) -> None:
        """Tokens that were counted and not used."""
        self._next -= self._seconds_for(tokens)

    def _seconds_each(self) -> float:
        return 60 / self.options.requests_per_minute if self.options.requests_per_minute else 0.0

    def _seconds_for(self, tokens: int) -> float:
        return 60 * tokens / self.options.tokens_per_minute if self.options.tokens_per_minute else 0.0


@dataclass
class Reserved:
    """What one request may use at most, until it is known what it used."""

    asked: int
    answered: int

    def used(self, asked: int, answered: int) -> None:
        """What it really used."""
        self.asked, self.answered = asked, answered


@dataclass
class Budget:
    """Counts what is used; a request that could pass the limit waits for those under way, then is refused."""

    options: EndpointOptions
    spent: Spent = field(default_factory=Spent)
    _under_way: list[Reserved] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def reserve(self, asked: int, answered: int) -> AsyncIterator[Reserved]:
        """Room for one request; what `Reserved` says in the end is what it used.

        Raises:
            BudgetSpent: it could pass a limit.
        """
        reserved = Reserved(asked, answered)
        async with self._changed:
            while passed := self._passed(reserved, self._under_way):
                if self._passed(reserved, []):
                    raise BudgetSpent(
                        f"the budget is spent: {passed}",
                        where="endpoint",
                        remedy="raise it and run again; with a cache, what was answered costs nothing",
                    )
                await self._changed.wait()
            self.spent.requests += 1
            self._under_way.append(reserved)
        try:
            yield reserved
        finally:
            self._under_way = [one for one in self._under_way if one is not reserved]
            self.spent.tokens_asked += reserved.asked
            self.spent.tokens_answered += reserved.answered
            self.spent.cost += self._cost(reserved)
            async with self._changed:
                self._changed.notify_all()

    def _passed(self, new: Reserved, under_way: list[Reserved]) -> str:
        """The limit that all of these could pass; empty where they fit."""
        options, spent = self.options, self.spent
        every = [*under_way, new]
        if options.most_requests is not None and spent.requests + 1 > options.most_requests:
            return f"{spent.requests} of {options.most_requests} requests"
        tokens = spent.tokens + sum(one.asked + one.answered for one in every)
        if options.most_tokens is not None and tokens > options.most_tokens:
            return f"{spent.tokens} of {options.most_tokens} tokens, and the next answer may need more than is left"
        cost = spent.cost + sum(self._cost(one) for one in every)
        if options.most_cost is not None and cost > options.most_cost:
            return f"{spent.cost:.4g} of {options.most_cost:g}, and the next answer may cost more than is left"
        return ""

    def _cost(self, one: Reserved) -> float:
        return (one.asked * self.options.price_asked + one.answered * self.options.price_answered) / 1e6
