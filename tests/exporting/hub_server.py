"""A model hub on loopback: as much of the real one's protocol as a push needs."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPOSITORY = "somebody/tuned"
LOGIN, CREATE = "/api/whoami-v2", "/api/repos/create"


@dataclass
class Hub:
    """What it was told."""

    url: str = ""
    refuses: Mapping[str, int] = field(default_factory=dict)
    """A status by what is asked."""
    token: str | None = None
    made: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    message: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to take it for the hub; the library reads it when it is imported."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret"}

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == LOGIN:
            return {"name": "somebody"}
        if path == CREATE:
            self.made = json.loads(body)
            return {"url": f"{self.url}/{REPOSITORY}"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == f"/api/models/{REPOSITORY}/preupload/main":
            asked = json.loads(body)["files"]
            return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
        assert path == f"/api/models/{REPOSITORY}/commit/main", path
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.message = value["summary"]
            else:
                assert (line["key"], value["encoding"]) == ("file", "base64")
                self.files[value["path"]] = b64decode(value["content"])
        return {"commitUrl": f"{self.url}/{REPOSITORY}/commit/1", "commitOid": "1", "success": True}


@contextmanager
def hub_on_loopback(**told: Any) -> Iterator[Hub]:
    hub = Hub(**told)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.token = self.headers.get("Authorization")
            path = self.path.partition("?")[0]
            status = hub.refuses.get(path, 200)
            said = hub.answer(path, body) if status == 200 else {"error": "no"}
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
