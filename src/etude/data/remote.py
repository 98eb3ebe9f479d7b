"""Data behind URLs (S3, GCS, HTTP): fetched once into a folder of Etude's own, then read like any other file.

A URL comes from a command line or a run file, never from a row, a template or a request. Through fsspec, which the
extra `remote` installs; size and time are limited, and whatever keeps a file from coming is said in one line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from etude import durable
from etude.data.fetched import Allowance, kept
from etude.errors import DataError, EtudeError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

NEEDS: Mapping[str, str] = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""Schemes that are read, and the package besides fsspec that each needs."""
CONNECT_SECONDS = 10.0
SILENT_SECONDS = 30.0
MOST_FILES = 10_000
BLOCK_BYTES = 1 << 20
VERSIONS = ("ETag", "etag", "Content-MD5", "Digest", "md5Hash", "generation", "LastModified", "Last-Modified", "mtime")
"""What servers say of a file's content, by which a file that is here already is known to be the same."""
FILES = "files"


def fetch(url: str, *, name: str | None) -> Path:
    """The file of this name behind a URL, or (None) the folder, here; what is the same as before is not fetched again.

    Raises:
        DataError: a scheme that is not read, nothing there, no way there, or more bytes or seconds than allowed.
        EtudeError: the packages for it are not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in NEEDS or "::" in url:
        raise DataError("is no URL that is read", where=url, remedy=f"give one that begins with {', '.join(NEEDS)}")
    for package in ("fsspec", NEEDS[scheme]):
        if find_spec(package) is None:
            raise EtudeError(f"reading {scheme}:// needs {package}", where=url, remedy="pip install 'etude[remote]'")
    return _fetched(url, name)


@cache
def _fetched(url: str, name: str | None) -> Path:
    """Once in each process: what it reads stays the same while it runs."""
    with _said(url):
        source = _Source.open(url, name)
        files = source.files()
        version = None if None in files.values() else sorted(files.items())
        folder = kept(url, version, lambda folder: source.download(folder, list(files)))
    return folder / (FILES if name is None else name)


class _Source:
    """One URL while it is looked at and fetched."""

    def __init__(self, url: str, name: str | None, filesystem: AbstractFileSystem, path: str) -> None:
        self.url, self.name, self.path = url, name, path
        self._filesystem = filesystem
        self._allowance = Allowance(url)

    @staticmethod
    def open(url: str, name: str | None) -> _Source:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url, **_settings(url.partition("://")[0].lower()))
        return _Source(url, name, filesystem, path)

    def files(self) -> dict[str, str | None]:
        """Path → what the server says of its content; None where it says nothing by which to know it again."""
        if self.name is not None:
            return {self.path: _version(self._filesystem.info(self.path))}
        if self.url.startswith("http"):
            raise DataError("names no file", where=self.url, remedy="give the URL of a file, with its ending")
        found = self._filesystem.find(self.path, detail=True)
        if not found:
            raise FileNotFoundError(self.path)
        if len(found) > MOST_FILES:
            raise DataError(f"holds {len(found):,} files", where=self.url, remedy=f"name at most {MOST_FILES:,}")
        return {path: _version(info) for path, info in found.items()}

    def download(self, folder: Path, paths: list[str]) -> None:
        """All of them, each whole or not there."""
        for path in paths:
            if self.name is not None:
                target = folder / self.name
            else:
                inside = PurePosixPath(path).relative_to(PurePosixPath(self.path))
                target = folder / FILES / inside
                if ".." in inside.parts:
                    raise DataError(f"holds a file with the name {path!r}", where=self.url, remedy="rename it")
            durable.make_directory(target.parent, exist_ok=True)
            self._download(path, target)

    def _download(self, path: str, target: Path) -> None:
        whole = {"block_size": 0} if self.url.startswith("http") else {}
        with self._filesystem.open(path, "rb", **whole) as content, durable.writing(target) as put:
            while block := content.read(BLOCK_BYTES):
                self._allowance.take(len(block))
                put(block)


def _version(info: Mapping[str, Any]) -> str | None:
    said = [str(info[name]) for name in VERSIONS if info.get(name)]
    return " ".join([*said, str(info.get("size"))]) if said else None


def _settings(scheme: str) -> dict[str, Any]:
    """What makes each kind of file system give up soon where nothing answers."""
    if scheme == "s3":
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENT_SECONDS, "retries": {"max_attempts": 2}}
        return {"config_kwargs": waits}
    if scheme in ("gs", "gcs"):
        return {"requests_timeout": SILENT_SECONDS}
    if scheme not in ("http", "https"):
        return {}
    import aiohttp

    waits_for = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    return {"client_kwargs": {"timeout": waits_for}}


@contextmanager
def _said(url: str) -> Iterator[None]:
    """Whatever goes wrong on the way as one line."""
    try:
        yield
    except PermissionError as error:
        remedy = "log in, or check your rights"
        raise DataError(f"may not be read ({_first(error)})", where=url, remedy=remedy) from None
    except _failures() as error:
        if isinstance(error, EtudeError):
            raise
        why = error.__cause__ or error
        if isinstance(error, FileNotFoundError) and (why is error or "404" in str(why)):
            raise DataError("there is no such file or folder", where=url, remedy="check the URL") from None
        remedy = "is this machine online? Or fetch it yourself and give the file"
        raise DataError(f"cannot be fetched ({_first(why)})", where=url, remedy=remedy) from None


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _failures() -> tuple[type[Exception], ...]:
    """What the libraries raise; not all of it is an OSError."""
    found: list[type[Exception]] = [OSError, ValueError, RuntimeError, asyncio.TimeoutError]
    if find_spec("aiohttp") is not None:
        import aiohttp

        found.append(aiohttp.ClientError)
    if find_spec("botocore") is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        found += [BotoCoreError, ClientError]
    if find_spec("gcsfs") is not None:
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError

        found += [HttpError, GoogleAuthError]
    return tuple(found)
