"""Settings of an endpoint, and how its words are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from etude.endpoints.exchange import Ask, error_text, read_reply, wait_seconds
from etude.endpoints.options import EndpointOptions


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "127.0.0.1:8000"}, "must begin with http"),
        ({"url": "http://me:word@here/v1"}, "must hold no password"),
        ({"url": "http://here/v1?key=1"}, "must end before any"),
        ({"url": "http://here/v1/chat/completions"}, "must end before /chat"),
        ({"url": "http://here:port/v1"}, "is no address"),
        ({"url": "http://api.example.com/v1", "key_variable": "K"}, "in the clear"),
        ({"model": ""}, "missing"),
        ({"tries": 0}, "at least 1"),
        ({"seconds": 0.0}, "above 0"),
        ({"most_cost": 1.0}, "needs prices"),
        ({"price_asked": -1.0}, "not be below 0"),
    ],
)
def test_what_is_wrong(settings: dict[str, Any], says: str) -> None:
    good = {"url": "http://127.0.0.1:8000/v1", "model": "toy"}
    assert not EndpointOptions(**good).problems()
    (found,) = EndpointOptions(**{**good, **settings}).problems()
    assert found[0] in settings
    assert says in found[1]


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://10.0.0.7/v1", "http://vllm:8000/v1"])
def test_where_a_key_may_go(url: str) -> None:
    assert not EndpointOptions(url=url, model="toy", key_variable="K").problems()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_seconds(headers, now=datetime(2015, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@given(some.binary() | some.text().map(str.encode))
def test_no_content_breaks_the_reading(content: bytes) -> None:
    assert error_text(content)
    try:
        read_reply(content)
    except ValueError:
        return
    raise AssertionError("random bytes are no answer")


@pytest.mark.parametrize("usage", [None, 7, [], {}, {"completion_tokens": "5"}, {"completion_tokens": -1}])
def test_usage_of_any_shape(usage: Any) -> None:
    content = {"choices": [{"message": {"content": "four"}}], "usage": usage}
    found = read_reply(json.dumps(content).encode())
    assert (found.text, found.tokens_answered) == ("four", 2)


def test_a_lone_surrogate_is_hashed_and_counted() -> None:
    ask = Ask((("user", "\ud800"),))
    assert len(ask.key(EndpointOptions(url="http://here/v1", model="toy"))) == 64
    assert ask.tokens_expected > 0
