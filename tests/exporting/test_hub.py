"""A folder goes to a hub on loopback that speaks the real one's protocol: what it holds then, and when it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "somebody/tuned"
PUSH = """
import sys
from pathlib import Path
from etude.errors import EtudeError
from etude.exporting.hub import push_folder
try:
    print(push_folder(Path(sys.argv[1]), sys.argv[2]))
except EtudeError as error:
    sys.exit(f"refused: {error}")
"""


@dataclass
class Hub:
    """What it was told."""

    url: str = ""
    refuses: int | None = None
    """A status that it answers everything with."""
    token: str | None = None
    made: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    message: str = ""

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
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
            status = hub.refuses or 200
            said = {"error": "no"} if hub.refuses else hub.answer(self.path.partition("?")[0], body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

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


def pushed(folder: Path, hub: str, **env: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret", **env}
    return subprocess.run(
        [sys.executable, "-c", PUSH, str(folder), REPOSITORY],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def exported(folder: Path) -> dict[str, bytes]:
    files = {
        "README.md": b"# Tuned\n",
        "adapter/adapter_config.json": b"{}\n",
        "weights.safetensors": bytes(range(256)) * 40,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def test_a_hub_holds_what_the_folder_held_and_nobody_else_sees_it(tmp_path: Path) -> None:
    files = exported(tmp_path)
    with hub_on_loopback() as hub:
        done = pushed(tmp_path, hub.url)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{hub.url}/{REPOSITORY}"
    assert hub.files == files
    assert (hub.made["name"], hub.made["organization"], hub.made["visibility"]) == ("tuned", "somebody", "private")
    assert hub.message == "Exported by Etude"
    assert hub.token == "Bearer hf_secret"


def test_a_hub_that_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    exported(tmp_path)
    with hub_on_loopback(refuses=401) as hub:
        done = pushed(tmp_path, hub.url)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"refused: {REPOSITORY}: the hub did not take it (")
    assert "401" in line
    assert line.endswith("log in with `hf auth login`")
    assert hub.files == {}


def test_a_hub_that_is_not_there_or_switched_off_is_told_at_once(tmp_path: Path) -> None:
    exported(tmp_path)
    with hub_on_loopback() as hub:
        pass
    gone = pushed(tmp_path, hub.url)
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"refused: {REPOSITORY}: the hub did not take it (")
    off = pushed(tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert off.returncode == 1
    assert "the hub is switched off (HF_HUB_OFFLINE)" in off.stderr
