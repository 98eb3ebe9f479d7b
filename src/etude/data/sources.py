"""Where the rows come from: one file, a folder of files, or a data set on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from etude.errors import DataError

ROWS = {
    ".jsonl": "JSONL", ".ndjson": "JSONL", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet",
}  # fmt: skip
TEXTS = {".txt": "text", ".text": "text", ".md": "text"}
READABLE = "JSONL, JSON, CSV, TSV, Parquet or text (.txt, .md)"
REFUSED = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"),
                    "such files can run code when opened and are never read; save the rows as JSONL or Parquet"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV (UTF-8)"),
    ".arrow": "save the table as Parquet",
}  # fmt: skip
HUB_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(#(?P<split>[\w.-]+))?")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read and the name of its format; `whole` texts are one document each."""

    path: Path
    name: str
    """As errors and origins say it: as given for a file, relative to the folder's parent for a folder's files."""
    format: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...] = ()
    """Files of the folder that hold no rows."""


def find(source: str | Path) -> Sources:
    """What `source` names; a DataError with the nearest name if it is nothing that can be read."""
    if is_remote(str(source)):
        return _remote(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, str(source))
    if path.is_file():
        return Sources((_file(path, str(source)),))
    if path.exists():
        raise DataError("is neither a file nor a folder", where=str(source), remedy=f"give a {READABLE} file")
    matched = HUB_NAME.fullmatch(str(source))
    suffix = path.suffix.lower()
    if (
        matched is None
        or suffix in ROWS
        or suffix in TEXTS
        or suffix in REFUSED
        or (path.parent.is_dir() and "/" in str(source))
    ):
        raise _missing(path, str(source))
    from etude.data.hub import HubName, fetch

    rows, name = fetch(HubName(matched["name"], matched["config"], matched["split"]))
    return Sources((SourceFile(rows, name, "JSONL"),))


def is_remote(source: str) -> bool:
    """Whether a source is a URL, of whatever scheme."""
    return "://" in source


def _remote(url: str) -> Sources:
    from etude.data.remote import fetch

    name = PurePosixPath(urlsplit(url).path).name
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in ROWS or suffix in TEXTS or suffix in REFUSED:
        file = _file(Path(name), url)  # what is not read is refused before a byte of it is fetched
        return Sources((replace(file, path=fetch(url, name=name)),))
    here = fetch(url, name=None)
    found = _folder(here, url)
    files = (replace(file, name=f"{url.rstrip('/')}/{file.path.relative_to(here)}") for file in found.files)
    return replace(found, files=tuple(files))


def _missing(path: Path, given: str) -> DataError:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    if near:
        remedy = f"did you mean {path.parent / near[0]}?"
    elif not path.parent.is_dir():
        remedy = f"its folder {path.parent} does not exist either"
    else:
        remedy = f"relative paths start from {Path.cwd() if not path.is_absolute() else path.parent}"
    return DataError("no such file or folder", where=given, remedy=remedy)


def _file(path: Path, given: str) -> SourceFile:
    suffix = path.suffix.lower()
    if suffix in REFUSED:
        raise DataError(f"{suffix} files are not read", where=given, remedy=REFUSED[suffix])
    form = ROWS.get(suffix) or TEXTS.get(suffix)
    if form is None:
        found = f"unknown file ending {suffix!r}" if suffix else "a file without an ending"
        raise DataError(found, where=given, remedy=f"rename it after what it holds: {READABLE}")
    return SourceFile(path, given, form)


def _folder(folder: Path, given: str) -> Sources:
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    shown = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    wanted = {path for path in shown if path.suffix.lower() in ROWS}
    form = ROWS
    if not wanted:
        wanted = {path for path in shown if path.suffix.lower() in TEXTS}
        form = TEXTS
    left_out = tuple(str(path.relative_to(folder)) for path in shown if path not in wanted)
    if not wanted:
        names = ", ".join(left_out[:5]) or "nothing"
        raise DataError(
            f"the folder holds no rows (found {names})", where=given, remedy=f"put {READABLE} files into it"
        )
    files = tuple(
        SourceFile(path, str(Path(given) / path.relative_to(folder)), form[path.suffix.lower()], whole=form is TEXTS)
        for path in shown
        if path in wanted
    )
    return Sources(files, left_out)
