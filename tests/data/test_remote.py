"""Data behind URLs, from a web server on this machine and from fsspec's own memory: fetched once, limited, refused."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from etude.cli.main import main
from etude.data import remote
from etude.data.inputs import open_inputs
from etude.data.read import content_of, read
from etude.data.sources import find
from etude.errors import DataError, EtudeError

ROWS = "".join(json.dumps({"prompt": f"question {n}", "completion": f"answer {n}"}) + "\n" for n in range(50))


@dataclass
class Web:
    """A folder behind a URL, and what was asked of it."""

    url: str
    folder: Path
    asked: list[str] = field(default_factory=list)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, asked: list[str], **more: object) -> None:
        self.asked = asked
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.asked.append(f"{self.command} {self.path}")


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(ROWS)
    remote._fetched.cache_clear()
    made = Web("", folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, asked=made.asked, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()
    remote._fetched.cache_clear()


def gets(web: Web) -> int:
    return sum(line.startswith("GET") for line in web.asked)


def test_a_url_is_read_as_a_file_is_and_fetched_once(web: Web) -> None:
    url = f"{web.url}/rows.jsonl?version=3"
    rows = read(url, streams=True)
    assert len(rows) == 50
    assert str(rows[7].origin) == f"{url}:8"
    inputs = open_inputs([url])
    assert inputs.files[0].name == url
    assert content_of(url).sha256 == rows.sha256
    assert gets(web) == 1
    remote._fetched.cache_clear()  # as another process would
    assert len(read(url)) == 50
    assert gets(web) == 1, "the server says that it is the same"
    time.sleep(1.1)  # what a web server says of a file's time has whole seconds
    (web.folder / "rows.jsonl").write_text(ROWS + '{"prompt": "new", "completion": "row"}\n')
    assert len(read(url)) == 50, "what a process reads stays the same while it runs"
    remote._fetched.cache_clear()
    assert len(read(url)) == 51


def test_the_command_line_takes_urls(web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clean.jsonl"
    assert main(["data", "clean", f"{web.url}/rows.jsonl", "-o", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 50
    assert f"{web.url}/rows.jsonl: JSONL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{url}/nothing.jsonl", "no such file"),
        ("{url}/rows.pkl", "can run code"),
        ("{url}/folder", "names no file"),
        ("file:///etc/passwd", "is no URL that is read"),
        ("ftp://example.org/rows.jsonl", "is no URL that is read"),
        ("zip://rows.jsonl::{url}/rows.jsonl", "is no URL that is read"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(web: Web, source: str, says: str) -> None:
    url = source.replace("{url}", web.url)
    with pytest.raises(EtudeError, match=says) as raised:
        read(url)
    assert "\n" not in str(raised.value)
    assert url in str(raised.value)


def test_size_and_time_are_limited_and_nothing_is_left(
    web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 100)
    monkeypatch.setenv("ETUDE_REMOTE_BYTES", "500")
    with pytest.raises(DataError, match="larger than 500 bytes"):
        read(f"{web.url}/rows.jsonl")
    monkeypatch.setenv("ETUDE_REMOTE_BYTES", "1e9")
    monkeypatch.setenv("ETUDE_REMOTE_SECONDS", "1e-9")
    with pytest.raises(DataError, match="longer than is allowed"):
        read(f"{web.url}/rows.jsonl")
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    monkeypatch.setenv("ETUDE_REMOTE_SECONDS", "soon")
    with pytest.raises(EtudeError, match="ETUDE_REMOTE_SECONDS: must be a number"):
        read(f"{web.url}/rows.jsonl")


def test_nobody_there_is_said_soon(web: Web) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"cannot be fetched .* online"):
        read(f"http://127.0.0.1:{port}/rows.jsonl")
    assert time.monotonic() - begun < 10


def test_a_server_that_says_nothing_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DataError, match="cannot be fetched"):
            read(f"http://127.0.0.1:{silent.getsockname()[1]}/rows.jsonl")


def test_what_is_not_installed_is_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "NEEDS", {"s3": "no_such_package"})
    with pytest.raises(EtudeError, match=r"needs no_such_package; pip install 'etude\[remote\]'"):
        read("s3://bucket/rows.jsonl")


def test_folders_of_buckets(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """What S3 and GCS do, done by fsspec's own file system in memory."""
    import fsspec

    monkeypatch.setattr(remote, "NEEDS", {"memory": "fsspec"})
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/a/one.jsonl": ROWS.encode(), "/bucket/two.jsonl": ROWS.encode(), "/bucket/note.doc": b"x"})
    try:
        found = find("memory://bucket")
        assert [file.name for file in found.files] == ["memory://bucket/a/one.jsonl", "memory://bucket/two.jsonl"]
        assert found.left_out == ("note.doc",)
        assert len(read("memory://bucket/")) == 100
        assert len(read("memory://bucket/two.jsonl")) == 50
        with pytest.raises(DataError, match="no such file or folder"):
            read("memory://nothing")
        monkeypatch.setattr(remote, "MOST_FILES", 2)
        remote._fetched.cache_clear()
        with pytest.raises(DataError, match="holds 3 files"):
            read("memory://bucket")
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_run_file_keeps_urls_as_they_are(tmp_path: Path) -> None:
    from etude.config import load_run_file

    (tmp_path / "run.yaml").write_text(
        "model: smollm2-135m-instruct\n"
        "data: {train: 's3://bucket/rows.jsonl', holdout: 'https://example.org/held.jsonl',\n"
        "  steps: [{kind: decontaminate, against: ['gs://bucket/test']}]}\n"
    )
    data = load_run_file(tmp_path / "run.yaml").data
    assert data.train == "s3://bucket/rows.jsonl"
    assert data.holdout == "https://example.org/held.jsonl"
    assert data.steps[0].against == ("gs://bucket/test",)
