"""A raw row with its line, and how JSON values become one; the rows of JSON and Parquet files, which are read whole.

Nothing here knows a layout. A row that cannot even be taken apart comes out as a BadRow; a file that cannot is a
DataError that names what it is instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import NamedTuple

from etude.data.check import BadRow, RowError
from etude.data.sources import SourceFile
from etude.errors import DataError
from etude.records import Origin

Columns = dict[str, object]
HEAD_BYTES = 4096
BOM = b"\xef\xbb\xbf"
SPACE = re.compile(r"[ \t\r\n]*")
MAGIC = (
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"PK\x03\x04", "a zip archive or an Excel sheet", "unpack it, or save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
    (b"\x80\x04", "a pickle", "such files can run code; save the rows as JSONL"),
)
UTF_MARKS = ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


class RawRow(NamedTuple):
    """A row as columns and values; a row that is a list of messages or a bare string has one column."""

    origin: Origin
    columns: Columns
    raw: str
    place: tuple[int, int] | None = None
    """Where its bytes begin and end in the file, if it can be read again from there."""


def whole_rows(file: SourceFile, jsonl: Callable[[], Iterator[RawRow | BadRow]]) -> Iterator[RawRow | BadRow]:
    """The rows of a JSON or Parquet file; `jsonl` reads a .json file that turns out to hold JSON lines."""
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise unreadable(error, file.name) from None
    if not content.strip(b" \t\r\n" + BOM):
        raise DataError("the file is empty", where=file.name, remedy="give a file with at least one row")
    if file.format == "Parquet":
        return parquet_rows(content, file.name)
    refuse_encoding(content[:HEAD_BYTES], file.name)
    return json_rows(content.removeprefix(BOM).decode("utf-8", "surrogateescape"), file.name, jsonl)


def unreadable(error: OSError, name: str) -> DataError:
    """Why the system does not let a file be read."""
    return DataError(f"cannot be read: {error.strerror}", where=name, remedy="check its permissions")


def refuse_encoding(head: bytes, name: str) -> None:
    """DataError if a text file begins like something else, or like text that is not UTF-8."""
    for magic, what, remedy in MAGIC:
        if head.startswith(magic):
            raise DataError(f"the file is {what}, whatever its ending says", where=name, remedy=remedy)
    encoding = next((encoding for mark, encoding in UTF_MARKS if head.startswith(mark)), None)
    if encoding is None and head.count(0) > len(head) // 5:
        encoding = "UTF-16LE" if head[1::2].count(0) > head[0::2].count(0) else "UTF-16BE"
    if encoding is not None:
        remedy = f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8-{name.rpartition('/')[2]}"
        raise DataError(f"the file is {encoding}, not UTF-8", where=name, remedy=remedy)


def not_utf8(text: str) -> str | None:
    """What is wrong with text that holds undecodable bytes or half a surrogate pair, or None."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"not UTF-8 (byte 0x{code - 0xDC00:02X} at character {error.start + 1})"
        return f"half a surrogate pair (\\u{code:04x}), which no text can hold"
    return None


def json_rows(text: str, name: str, jsonl: Callable[[], Iterator[RawRow | BadRow]]) -> Iterator[RawRow | BadRow]:
    """An array of rows, an object that holds one (`{"data": [...]}`), an object of rows by id, or JSON lines."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        if text.lstrip().startswith("["):
            yield from _array(text, name)
            return
        yield from _object(text, name)
    except json.JSONDecodeError as error:
        if _parses(first):
            yield from jsonl()
            return
        where = f"{name}:{error.lineno}"
        remedy = "mend it, or save the rows as JSONL, where one broken row does not spoil the others"
        raise DataError(f"not valid JSON: {error.msg} (column {error.colno})", where=where, remedy=remedy) from None
    except RecursionError:
        raise DataError("nested too deeply", where=name, remedy="a row holds a few levels at most") from None


def _array(text: str, name: str) -> Iterator[RawRow | BadRow]:
    spans = []
    twice: list[str] = []
    decoder = _decoder(twice)
    at = _skip(text, text.index("[") + 1)
    while not text.startswith("]", at):
        value, end = decoder.raw_decode(text, at)
        spans.append((value, text[at:end], tuple(twice)))
        twice.clear()
        at = _skip(text, end)
        if text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith("]", at):
            raise json.JSONDecodeError("expected ',' or ']'", text, at)
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("more after the end of the array", text, at + 1)
    if not spans:
        raise DataError("the file holds an empty array", where=name, remedy="give a file with at least one row")
    for number, (value, raw, repeated) in enumerate(spans, start=1):
        yield _numbered(value, raw, Origin(name, number), repeated)


def _object(text: str, name: str) -> Iterator[RawRow | BadRow]:
    twice: list[str] = []
    value = _decoder(twice).decode(text.strip())
    if not isinstance(value, dict):
        raise DataError("expected an array or object of rows", where=name, remedy="save the rows as JSONL")
    lists = [key for key, held in value.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
    key = "data" if "data" in lists else lists[0] if len(lists) == 1 and len(value) == 1 else None
    found: Iterable[object] = [value]
    if key is not None and not {"role", "from"} & value[key][0].keys():
        found = value[key]
    elif len(value) > 1 and all(isinstance(held, dict) for held in value.values()):
        found = value.values()
    for number, row in enumerate(found, start=1):
        yield _numbered(row, json.dumps(row, ensure_ascii=False), Origin(name, number), tuple(twice))


def _numbered(value: object, raw: str, origin: Origin, twice: tuple[str, ...]) -> RawRow | BadRow:
    if twice:
        return BadRow(origin, _repeated(twice[0]), raw)
    wrong = not_utf8(json.dumps(value, ensure_ascii=False))
    if wrong:
        return BadRow(origin, wrong, raw)
    try:
        return RawRow(origin, columns_of(value), raw)
    except RowError as error:
        return BadRow(origin, str(error), raw)


def parse_line(line: str) -> object:
    """The JSON value that a line holds; RowError says why it holds none."""
    wrong = not_utf8(line)
    if wrong:
        raise RowError(wrong)
    if not line.strip():
        raise RowError("empty line")
    twice: list[str] = []
    try:
        value = _decoder(twice).decode(line)
    except json.JSONDecodeError as error:
        raise RowError(f"not valid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise RowError("nested too deeply") from None
    except ValueError as error:
        raise RowError(f"not valid JSON: {error}") from None
    if twice:
        raise RowError(_repeated(twice[0]))
    if "\\u" in line:
        wrong = not_utf8(json.dumps(value, ensure_ascii=False))
        if wrong:
            raise RowError(wrong)
    return value


def _parses(line: str) -> bool:
    try:
        parse_line(line)
    except RowError:
        return False
    return True


def _repeated(key: str) -> str:
    return f"the key {key!r} appears twice in one object"


def _decoder(twice: list[str]) -> json.JSONDecoder:
    def pairs(found: list[tuple[str, object]]) -> Columns:
        made = dict(found)
        if len(made) < len(found):
            keys = [key for key, _ in found]
            twice.append(next(key for key in keys if keys.count(key) > 1))
        return made

    def constant(name: str) -> object:
        raise json.JSONDecodeError(f"{name} is not JSON", name, 0)

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant)


def _skip(text: str, at: int) -> int:
    matched = SPACE.match(text, at)
    assert matched is not None
    return matched.end()


def columns_of(value: object) -> Columns:
    """A row's columns by name; RowError if the value is no row."""
    if isinstance(value, dict):
        if not value:
            raise RowError("an empty object")
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list):
        return {"messages": value}
    raise RowError(f"a row must be a JSON object, found {json.dumps(value)[:40]}")


def parquet_rows(content: bytes, name: str) -> Iterator[RawRow | BadRow]:
    """A Parquet table's rows, numbered from 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(BytesIO(content))
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield RawRow(Origin(name, number), row, json.dumps(row, ensure_ascii=False, default=str))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"not a readable Parquet file: {reason}", where=name, remedy="write it again") from None
    if not number:
        raise DataError("the table has no rows", where=name, remedy="give a file with at least one row")
