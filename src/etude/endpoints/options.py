"""Which endpoint is asked, how patiently, and how much it may cost."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

TokenLimitName = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Any server of `/chat/completions`: a provider's, vLLM's, llama.cpp's, Etude's own."""

    url: str
    """The part before `/chat/completions`, such as http://127.0.0.1:8000/v1."""
    model: str
    """The name under which the server knows the model."""
    key_variable: str | None = None
    """The environment variable that holds the key; the key itself is never written or shown."""
    max_tokens: int = 512
    """Longest answer."""
    temperature: float | None = 0.0
    """Of the draw; null: not sent, for models that refuse it."""
    token_limit_name: TokenLimitName = "max_tokens"
    """The name by which the server knows the longest answer."""
    seconds: float = 60.0
    """Longest time for one try, from connecting to the answer's last byte."""
    tries: int = 5
    """How often a request is sent where the server is busy, fails or breaks off."""
    longest_wait_seconds: float = 120.0
    """A server that asks for a longer pause than this is not waited for."""
    concurrency: int = 8
    """Requests under way at once."""
    requests_per_minute: float | None = None
    """Requests are spread so that no more are sent."""
    tokens_per_minute: float | None = None
    """Requests are spread so that no more tokens, asked and answered, are used."""
    most_requests: int | None = None
    """Budget of this process, tries included; answers from the cache cost nothing."""
    most_tokens: int | None = None
    """Budget of this process, asked and answered."""
    most_cost: float | None = None
    """Budget of this process, in the currency of the prices."""
    price_asked: float = 0.0
    """Of a million tokens asked."""
    price_answered: float = 0.0
    """Of a million tokens answered."""
    cache: str | None = None
    """Folder in which answers are kept by the content of what was asked; asking again costs nothing."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found = [("url", says) for says in url_problems(self.url, has_key=self.key_variable is not None)]
        if not self.model:
            found.append(("model", "missing; it is the server's name for the model"))
        for name, low in {"max_tokens": 1, "tries": 1, "concurrency": 1, "longest_wait_seconds": 0}.items():
            if getattr(self, name) < low:
                found.append((name, f"must be at least {low}, got {getattr(self, name):g}"))
        for name in (
            "seconds",
            "requests_per_minute",
            "tokens_per_minute",
            "most_requests",
            "most_tokens",
            "most_cost",
        ):
            value: float | None = getattr(self, name)
            if value is not None and value <= 0:
                found.append((name, f"must be above 0, got {value:g}"))
        for name in ("price_asked", "price_answered", "temperature"):
            value = getattr(self, name)
            if value is not None and value < 0:
                found.append((name, f"must not be below 0, got {value:g}"))
        if self.most_cost is not None and not self.price_asked and not self.price_answered:
            found.append(("most_cost", "needs prices: set price_asked and price_answered"))
        return found

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return is_local(self.url)


@dataclass(frozen=True, kw_only=True)
class VllmOptions:
    """A running `vllm serve BASE --enable-lora`, which writes the answers that are learned from."""

    url: str
    """The part before `/completions`, such as http://127.0.0.1:8000/v1."""
    key_variable: str | None = None
    """The environment variable that holds the server's key; the key itself is never written or shown."""
    adapters: str | None = None
    """Folder in which the policy is handed over, under a path that the server sees too; null: the run's own folder."""
    seconds: float = 600.0
    """Longest time for one request: all answers to one prompt."""
    tries: int = 4
    """How often a request is sent where the server is busy, fails or breaks off."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found = [("url", says) for says in url_problems(self.url, has_key=self.key_variable is not None)]
        if not found and not self.url.rstrip("/").endswith("/v1"):
            found.append(("url", "must end in /v1, as in http://127.0.0.1:8000/v1"))
        if self.seconds <= 0:
            found.append(("seconds", f"must be above 0, got {self.seconds:g}"))
        if self.tries < 1:
            found.append(("tries", f"must be at least 1, got {self.tries}"))
        return found


def url_problems(url: str, *, has_key: bool) -> list[str]:
    """What is wrong with a server's address."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [f"is no address: {error}"]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"must begin with http:// or https:// and name a server, got {parts.scheme or 'no scheme'!r}"]
    found = []
    if parts.username or parts.password:
        found.append("must hold no password; name a key's environment variable in key_variable")
    if parts.query or parts.fragment:
        found.append("must end before any ? or #")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        found.append("must end before /chat/completions")
    if has_key and parts.scheme == "http" and not _is_near(parts.hostname):
        found.append("would send the key in the clear; use https")
    return found


def is_local(url: str) -> bool:
    """Whether an address is this machine's."""
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_near(host: str) -> bool:
    """This machine, a private address, or a name without a domain."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host
