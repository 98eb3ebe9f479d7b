"""A model hub on loopback with one good model, and names that stand for each way in which a hub refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {
    "someone/gated": (403, "GatedRepo"),
    "someone/missing": (404, "RepoNotFound"),
    "someone/broken": (500, ""),
    "someone/denied": (401, "Other"),
}


class HubServer(ThreadingHTTPServer):
    """Serves the files of one folder as one model."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.folder, self.name = folder, name

    def refusal(self, path: str) -> tuple[int, str] | None:
        """Status and error code, where the path asks for something that is not to be had."""
        asked = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if asked in REFUSALS:
            return REFUSALS[asked]
        if asked != self.name:
            return 404, "RepoNotFound"
        if "/revision/" in path and path.split("/revision/")[1] not in ("main", COMMIT):
            return 404, "RevisionNotFound"
        return None


class HubHandler(BaseHTTPRequestHandler):
    """The part of the hub's interface that a download asks for."""

    server: HubServer

    def log_message(self, *_: Any) -> None:
        """Nothing: tests read the terminal."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        refusal = self.server.refusal(path)
        if refusal:
            self._answer(refusal[0], b"", {"X-Error-Code": refusal[1]})
        elif "/tree/" in path:
            self._json([entry(one) for one in sorted(self.server.folder.iterdir())])
        elif "/revision/" in path:
            self._json({"id": self.server.name, "sha": COMMIT, "siblings": []})
        else:
            content = (self.server.folder / path.rsplit("/", 1)[-1]).read_bytes()
            self._answer(200, content, {"ETag": f'"{oid(content)}"', "X-Repo-Commit": COMMIT})

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def entry(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(content), "oid": oid(content)}


def oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def hub(folder: Path, name: str) -> Iterator[str]:
    """Serves the folder's files as the model `name`; yields the address."""
    with HubServer(folder, name) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
