"""Asks an endpoint: many requests under way, failures tried again, answers in the order of the questions."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.endpoints.cache import AnswerCache
from etude.endpoints.exchange import Ask, NoReply, Reply, error_code, error_text, read_reply, wait_seconds
from etude.endpoints.limits import Budget, BudgetSpent, Pace, Reserved, Spent
from etude.endpoints.options import EndpointOptions
from etude.errors import ConfigError, EtudeError, Problems

if TYPE_CHECKING:
    from httpx2 import AsyncClient

CONNECT_SECONDS = 10.0
FIRST_WAIT_SECONDS = 0.5
LARGEST_BYTES = 16 << 20
"""Of an answer; more is no answer to a chat."""
FAILURES_IN_A_ROW = 8
"""Requests without an answer after which nothing more is asked."""
AHEAD = 4
"""Questions taken ahead of the oldest one unanswered, for each that may be under way."""
TRY_AGAIN = frozenset({408, 409, 425, 429})
REFUSED_ALONE = frozenset({400, 413, 422})
"""This request is the problem (too long, say); the next one may be answered."""


class EndpointError(EtudeError):
    """An endpoint that cannot be asked: not there, no key, no such model, or failing again and again."""


@dataclass(frozen=True, slots=True)
class _Again:
    """A try that failed and may be made again, after so many seconds where the server said so."""

    reason: str
    seconds: float | None = None


@dataclass(slots=True)
class _Asking:
    """What the requests of one call share; it lives in their event loop."""

    client: AsyncClient
    budget: Budget
    slots: asyncio.Semaphore
    ended: EndpointError | None = None
    """Why nothing more is sent."""


@dataclass
class Endpoint:
    """A server that is asked; `open_endpoint` makes one. One thread at a time."""

    options: EndpointOptions
    key: str | None = field(default=None, repr=False)
    spent: Spent = field(default_factory=Spent)
    """Requests sent, tokens and cost so far."""
    _reached: bool = False
    _answered: bool = False
    _failures: int = 0
    """Requests in a row without an answer."""

    def __post_init__(self) -> None:
        self._pace = Pace(self.options)
        self._cache = AnswerCache(Path(self.options.cache)) if self.options.cache is not None else None

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        """An answer for each question, in order; questions are taken as they are needed, a few ahead.

        The requests run in an event loop in a thread of its own, so plain functions and notebooks may ask alike.

        Raises:
            BudgetSpent: after the answers that could still be paid.
            EndpointError: the endpoint is not there, refuses everybody, or fails again and again.
            StorageError: the cache cannot be written.
        """
        from anyio.from_thread import start_blocking_portal

        under_way: deque[Future[Reply | NoReply]] = deque()
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._client()) as client:
            asked = _Asking(client, Budget(self.options, self.spent), asyncio.Semaphore(self.options.concurrency))
            try:
                for ask in asks:
                    if len(under_way) == AHEAD * self.options.concurrency:
                        yield under_way.popleft().result()
                    under_way.append(portal.start_task_soon(self._answer, asked, ask))
                while under_way:
                    yield under_way.popleft().result()
            except BudgetSpent:
                for future in under_way:  # what was sent is paid: it is let come, and kept
                    future.exception()
                raise

    def _client(self) -> AsyncClient:
        import httpx2

        options = self.options
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx2.Timeout(options.seconds, connect=min(CONNECT_SECONDS, options.seconds)),
            limits=httpx2.Limits(max_connections=options.concurrency),
            trust_env=not options.is_local,  # a proxy does not know this machine
        )

    async def _answer(self, asking: _Asking, ask: Ask) -> Reply | NoReply:
        key = ask.key(self.options)
        if self._cache is not None and (known := self._cache.read(key)) is not None:
            return known
        async with asking.slots:
            if asking.ended is not None:
                raise asking.ended
            try:
                answer = self._counted(await self._tried(asking, ask))
            except EndpointError as error:
                asking.ended = error
                raise
        if self._cache is not None and isinstance(answer, Reply):
            self._cache.write(key, answer)
        return answer

    def _counted(self, answer: Reply | NoReply) -> Reply | NoReply:
        """The answer; raises EndpointError where there have been none for too long."""
        if isinstance(answer, Reply):
            self._failures, self._answered = 0, True
            return answer
        self._failures += not (answer.refused and self._answered)
        if self._failures >= FAILURES_IN_A_ROW:
            raise self._error(f"{self._failures} requests in a row got no answer; the last one: {answer.reason}")
        return answer

    async def _tried(self, asking: _Asking, ask: Ask) -> Reply | NoReply:
        """The answer, after as many tries as are allowed."""
        options, reason = self.options, ""
        body, asked = ask.body(options), ask.tokens_expected
        for number in range(options.tries):
            await self._pace.turn(asked + options.max_tokens)
            async with asking.budget.reserve(asked, options.max_tokens) as reserved:
                told = await self._once(asking.client, body, reserved)
            self._pace.give_back(asked + options.max_tokens - reserved.asked - reserved.answered)
            if not isinstance(told, _Again):
                return told
            reason = told.reason
            if told.seconds is not None and told.seconds > options.longest_wait_seconds:
                raise self._error(
                    f"asks to wait {told.seconds:.0f} s ({reason})", "try later, or set longest_wait_seconds"
                )
            if told.seconds is not None:
                self._pace.hold(told.seconds)
            if number + 1 < options.tries:
                await asyncio.sleep(pause(told.seconds, number, options.longest_wait_seconds))
        return NoReply(f"{options.tries} tries, the last: {reason}")

    async def _once(self, client: AsyncClient, body: dict[str, Any], reserved: Reserved) -> Reply | NoReply | _Again:
        """One try; where nobody knows what it used, all that was reserved counts."""
        import httpx2

        started = time.monotonic()
        try:
            async with asyncio.timeout(self.options.seconds):
                status, headers, content = await self._sent(client, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            reserved.used(0, 0)
            return self._unreachable(error)
        except (TimeoutError, httpx2.TimeoutException):
            return _Again(f"no whole answer in {time.monotonic() - started:.3g} s")
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return _Again(f"the connection broke ({self._shown(error)})")
        self._reached = True
        if len(content) > LARGEST_BYTES:
            return NoReply(f"more than {LARGEST_BYTES >> 20} MB came")
        if status != 200:
            reserved.used(0, 0)
            return self._refused(status, headers, content)
        try:
            reply = replace(read_reply(content), seconds=round(time.monotonic() - started, 4))
        except ValueError as error:
            return _Again(self._shown(error))
        reserved.used(reply.tokens_asked or reserved.asked, reply.tokens_answered)
        return reply

    async def _sent(self, client: AsyncClient, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by small name, and the body's bytes up to the largest."""
        url = f"{self.options.url.rstrip('/')}/chat/completions"
        content_type = {"Content-Type": "application/json"}
        async with client.stream("POST", url, content=json.dumps(body).encode(), headers=content_type) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > LARGEST_BYTES:
                    break
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status_code, headers, bytes(content)

    def _refused(self, status: int, headers: dict[str, str], content: bytes) -> NoReply | _Again:
        says = self._shown(error_text(content))
        if status == 429 and error_code(content) == "insufficient_quota":
            raise self._error(f"the account's quota is used up: {says}")
        if status in TRY_AGAIN or status >= 500:
            return _Again(f"status {status}: {says}", wait_seconds(headers))
        if status in REFUSED_ALONE:
            return NoReply(f"status {status}: {says}", refused=True)
        if 300 <= status < 400:
            raise self._error(
                f"sends elsewhere ({headers.get('location', 'nowhere')})", "set endpoint.url to that place"
            )
        remedy = {
            401: "check the key" if self.key else "name the key's environment variable in key_variable",
            403: "check what the key may do",
            404: "check endpoint.url and endpoint.model",
        }.get(status)
        raise self._error(f"status {status}: {says}", remedy)

    def _unreachable(self, error: Exception) -> _Again:
        """Not worth a second try where it never answered."""
        says = self._shown(error) or type(error).__name__
        if self._reached:
            return _Again(f"cannot be reached ({says})")
        raise self._error(f"cannot be reached ({says})", "is the server running, and this machine online?")

    def _error(self, found: str, remedy: str | None = None) -> EndpointError:
        return EndpointError(found, where=self.options.url, remedy=remedy)

    def _shown(self, text: object) -> str:
        """Without the key, which some servers repeat."""
        return str(text).replace(self.key, "[key]") if self.key else str(text)


def pause(asked: float | None, number: int, longest: float) -> float:
    """Seconds before the next try, spread so that requests that failed together do not come back together.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    if asked is not None:
        return asked * random.uniform(1.0, 1.1)
    most = min(longest, FIRST_WAIT_SECONDS * 2**number)
    return random.uniform(most / 2, most)


def open_endpoint(options: EndpointOptions) -> Endpoint:
    """The endpoint, not yet asked.

    Raises:
        EtudeError: settings out of range, no key where one is named, or no HTTP library.
    """
    need_httpx()
    if found := options.problems():
        raise Problems("endpoint", [f"{setting}: {says}" for setting, says in found])
    return Endpoint(options, key_in(options.key_variable, where="endpoint.key_variable"))


def need_httpx() -> None:
    """
    Raises:
        EtudeError: there is no HTTP library.
    """
    if importlib.util.find_spec("httpx2") is None:
        raise EtudeError("asking an endpoint needs httpx2", remedy="pip install 'etude[endpoints]'")


def key_in(variable: str | None, *, where: str) -> str | None:
    """The key in an environment variable; None where none is named.

    Raises:
        ConfigError: it is not set, or holds no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {variable} is not set", where=where, remedy="export it with the key"
        )
    if not key.isascii() or any(sign.isspace() for sign in key):
        raise ConfigError(f"what {variable} holds is no key", where=where)
    return key
