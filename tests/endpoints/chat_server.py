"""A chat server on loopback that answers as told: well, busy, slowly, torn, in nonsense, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Told:
    """One way to answer."""

    status: int = 200
    body: bytes | None = None
    """None: an answer made by `ChatServer.says`."""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    missing_bytes: int = 0
    """So many bytes of what is promised do not come: the connection ends."""
    hang_up: bool = False
    """The connection ends before anything is said."""


class ChatServer(ThreadingHTTPServer):
    """Answers by `script`, one entry a request, then well."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Nothing: clients may go at any moment."""

    def __init__(self, script: list[Told], says: Callable[[list[dict[str, str]]], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.says = deque(script), says
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
            told = server.script.popleft() if server.script else Told()
        time.sleep(told.wait)
        with server.lock:
            server.under_way -= 1
        if told.hang_up or self.path != "/v1/chat/completions":
            self.close_connection = True
            return
        self._send(told, body)

    def _send(self, told: Told, body: dict[str, Any]) -> None:
        content = told.body if told.body is not None else answer(self.server.says(body["messages"]))
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - told.missing_bytes])
        if told.missing_bytes:
            self.close_connection = True


def answer(text: str, asked: int = 10, answered: int = 5) -> bytes:
    """The JSON of an answer."""
    usage = {"prompt_tokens": asked, "completion_tokens": answered}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


@contextmanager
def chat_server(
    *script: Told, says: Callable[[list[dict[str, str]]], str] = lambda messages: messages[-1]["content"].upper()
) -> Iterator[ChatServer]:
    """A running server; it says the last message in capitals, unless `says` is given."""
    server = ChatServer(list(script), says)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
