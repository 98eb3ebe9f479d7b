"""The client against a real server on loopback: every way in which one answers badly."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from etude.endpoints import client
from etude.endpoints.client import Endpoint, EndpointError, open_endpoint
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.endpoints.limits import BudgetSpent
from etude.endpoints.options import EndpointOptions
from etude.errors import EtudeError
from tests.endpoints.chat_server import ChatServer, Told, answer, chat_server


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.02)


def endpoint(server: ChatServer, **settings: Any) -> Endpoint:
    return open_endpoint(EndpointOptions(url=server.url, model="toy", **settings))


def asks(*texts: str) -> list[Ask]:
    return [Ask((("user", text),)) for text in texts]


def texts(found: list[Reply | NoReply]) -> list[str]:
    return [one.text if isinstance(one, Reply) else f"- {one.reason}" for one in found]


def test_many_questions_get_their_own_answers_in_order() -> None:
    with chat_server(*[Told(wait=0.05 * (at % 3)) for at in range(12)]) as server:
        asked = endpoint(server, concurrency=4)
        found = list(asked.answers(asks(*(f"text {at}" for at in range(40)))))
        assert texts(found) == [f"TEXT {at}" for at in range(40)]
        assert 1 < server.most_at_once <= 4
        assert server.bodies[0] == {
            "model": "toy", "messages": server.bodies[0]["messages"], "max_tokens": 512, "temperature": 0.0,
        }  # fmt: skip
        assert (asked.spent.requests, asked.spent.tokens) == (40, 600)


def test_questions_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def endless() -> Any:
        for at in range(10_000):
            taken.append(at)
            yield Ask((("user", str(at)),))

    with chat_server() as server:
        for number, _ in enumerate(endpoint(server, concurrency=2).answers(endless())):
            if number == 5:
                break
        assert len(taken) < 20


@pytest.mark.parametrize(
    "failing",
    [
        Told(status=500, body=b"oh"),
        Told(status=503, body=b'{"error": {"message": "loading"}}'),
        Told(status=429, body=b"{}"),
        Told(body=b"<html>not JSON</html>"),
        Told(body=b'{"choices": []}'),
        Told(body=b'{"choices": [{"message": {"content": null}}]}'),
        Told(missing_bytes=20),
        Told(hang_up=True),
        Told(wait=0.6),
    ],
    ids=["500", "503", "429", "html", "empty", "null", "torn", "hang-up", "slow"],
)
def test_what_fails_once_is_tried_again(failing: Told) -> None:
    with chat_server(failing) as server:
        assert texts(list(endpoint(server, seconds=0.4).answers(asks("a")))) == ["A"]
        assert len(server.bodies) == 2


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"retry-after-ms": "1000"}])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(headers: dict[str, str]) -> None:
    with chat_server(Told(status=429, body=b"{}", headers=headers)) as server:
        found = list(endpoint(server, concurrency=1).answers(asks("a", "b")))
        assert texts(found) == ["A", "B"]
        assert 1.0 <= server.times[1] - server.times[0] < 2.0


def test_a_pause_that_is_too_long_ends_it_at_once() -> None:
    with chat_server(Told(status=429, body=b'{"error": "daily limit"}', headers={"Retry-After": "3600"})) as server:
        asked = endpoint(server).answers(asks("a"))
        with pytest.raises(EndpointError, match=r"asks to wait 3600 s .*daily limit"):
            list(asked)


def test_tries_end() -> None:
    with chat_server(*[Told(status=500, body=b'{"detail": "out of memory"}')] * 3) as server:
        found = list(endpoint(server, tries=3, concurrency=1).answers(asks("a", "b")))
        assert texts(found) == ["- 3 tries, the last: status 500: out of memory", "B"]


def test_a_server_that_only_fails_is_given_up() -> None:
    with chat_server(*[Told(status=500, body=b"no")] * 100) as server:
        with pytest.raises(EndpointError, match=r"8 requests in a row got no answer; the last one: .*500: no"):
            list(endpoint(server, tries=1, concurrency=1).answers(asks(*map(str, range(50)))))
        assert len(server.bodies) < 20


def test_a_request_that_is_too_long_concerns_nobody_else() -> None:
    too_long = Told(status=400, body=b'{"error": {"message": "context length exceeded"}}')
    with chat_server(Told(), *[too_long] * 20) as server:
        found = list(endpoint(server, concurrency=1).answers(asks(*map(str, range(22)))))
        assert texts(found)[:2] == ["0", "- status 400: context length exceeded"]
        assert texts(found)[-1] == "21"
        assert len(server.bodies) == 22, "not tried again"


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (Told(status=401, body=b'{"error": {"message": "no key"}}'), "status 401: no key; name the key's environment"),
        (Told(status=404, body=b'{"error": {"message": "no such model"}}'), "no such model; check endpoint.url"),
        (Told(status=301, body=b"", headers={"Location": "https://elsewhere/v1"}), r"sends elsewhere \(https://els"),
        (Told(status=429, body=b'{"error": {"code": "insufficient_quota", "message": "pay"}}'), "quota is used up"),
    ],
)
def test_what_no_second_try_mends_is_said_at_once(told: Told, says: str) -> None:
    with chat_server(*[told] * 9) as server:
        with pytest.raises(EndpointError, match=says):
            list(endpoint(server, concurrency=1).answers(asks("a", "b", "c")))
        assert len(server.bodies) == 1


def test_offline_is_said_fast() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        started = time.monotonic()
        with pytest.raises(EndpointError, match=r"cannot be reached .*is the server running"):
            list(open_endpoint(EndpointOptions(url=url, model="toy")).answers(asks("a", "b")))
        assert time.monotonic() - started < 2


def test_requests_are_spread_over_the_minute() -> None:
    with chat_server() as server:
        list(endpoint(server, requests_per_minute=600).answers(asks(*"abcdef")))
        assert server.times[-1] - server.times[0] >= 0.45


def test_tokens_are_spread_over_the_minute_and_what_was_not_used_is_given_back() -> None:
    with chat_server() as server:
        started = time.monotonic()
        # each reserves 9 + 991 tokens = 1 s and uses 15
        list(endpoint(server, tokens_per_minute=60_000, max_tokens=991, concurrency=1).answers(asks(*"abcdef")))
        assert time.monotonic() - started < 2.0
        assert server.times[-1] - server.times[0] >= 0.05


def test_a_budget_of_requests_ends_cleanly_and_the_cache_goes_on(tmp_path: Path) -> None:
    with chat_server() as server:
        found: list[Reply | NoReply] = []
        asked = endpoint(server, most_requests=3, cache=str(tmp_path), concurrency=2)
        with pytest.raises(BudgetSpent, match="3 of 3 requests"):
            found.extend(asked.answers(asks(*"abcdef")))
        assert texts(found) == list("ABC")
        assert len(server.bodies) == 3
        again = endpoint(server, most_requests=3, cache=str(tmp_path), concurrency=2)
        found = list(again.answers(asks(*"abcdef")))
        assert texts(found) == list("ABCDEF")
        assert [one.cached for one in found if isinstance(one, Reply)] == [True] * 3 + [False] * 3
        assert (len(server.bodies), again.spent.requests) == (6, 3)


@pytest.mark.parametrize(
    ("settings", "most"),
    [({"most_tokens": 100, "max_tokens": 10}, 6), ({"most_cost": 1e-3, "price_answered": 40, "max_tokens": 5}, 5)],
)
def test_a_budget_of_tokens_or_money_is_never_passed(settings: dict[str, Any], most: int) -> None:
    with chat_server() as server:
        asked = endpoint(server, concurrency=8, **settings)
        with pytest.raises(BudgetSpent):
            list(asked.answers(asks(*"abcdefghijklmnop")))
        assert asked.spent.requests == len(server.bodies) == most
        assert asked.spent.tokens <= 100
        assert asked.spent.cost <= 1e-3


def test_what_timed_out_counts_as_used() -> None:
    with chat_server(Told(wait=0.5)) as server:
        asked = endpoint(server, seconds=0.2, max_tokens=100)
        list(asked.answers(asks("a")))
        assert asked.spent.tokens == 9 + 100 + 15


def test_the_cache_knows_what_decides_an_answer(tmp_path: Path) -> None:
    with chat_server() as server:
        kept = {"cache": str(tmp_path)}
        twice = [*asks("a"), Ask((("user", "a"),), sample=1), Ask((("system", "a"), ("user", "a")))]
        list(endpoint(server, **kept).answers(twice))
        list(endpoint(server, **kept).answers(twice))
        assert len(server.bodies) == 3
        list(endpoint(server, temperature=1.0, **kept).answers(asks("a")))
        list(endpoint(server, max_tokens=7, **kept).answers(asks("a")))
        assert len(server.bodies) == 5


def test_a_torn_file_of_the_cache_is_asked_again(tmp_path: Path) -> None:
    with chat_server() as server:
        list(endpoint(server, cache=str(tmp_path)).answers(asks("a")))
        (kept,) = tmp_path.rglob("*.json")
        kept.write_text(kept.read_text()[:-9])
        assert texts(list(endpoint(server, cache=str(tmp_path)).answers(asks("a")))) == ["A"]
        assert len(server.bodies) == 2


def test_the_key_is_sent_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOY_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)
    echo = Told(status=401, body=b'{"error": {"message": "wrong key sk-very-secret"}}')
    with chat_server(Told(), echo) as server:
        asked = endpoint(server, key_variable="TOY_KEY", cache=str(tmp_path))
        list(asked.answers(asks("a")))
        assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
        with pytest.raises(EndpointError, match=r"wrong key \[key\]; check the key") as refused:
            list(asked.answers(asks("b")))
    seen = [repr(asked), str(refused.value), caplog.text, *(one.read_text() for one in tmp_path.rglob("*.json"))]
    assert not any("very-secret" in one for one in seen)


def test_a_key_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOY_KEY", raising=False)
    with pytest.raises(EtudeError, match="variable TOY_KEY is not set; export it"):
        open_endpoint(EndpointOptions(url="http://127.0.0.1:1/v1", model="toy", key_variable="TOY_KEY"))


def test_an_answer_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LARGEST_BYTES", 1 << 16)
    with chat_server(Told(body=answer("x" * (1 << 20)))) as server:
        (found,) = endpoint(server).answers(asks("a"))
        assert isinstance(found, NoReply)
