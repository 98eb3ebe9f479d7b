"""The raw rows of one file, each with its line: what JSONL, JSON, CSV, TSV, Parquet and text files hold.

Nothing here knows a layout. A row that cannot even be taken apart comes out as a BadRow; a file that cannot is a
DataError that names what it is instead.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO

from etude.data.check import BadRow, RowError
from etude.data.sources import SourceFile
from etude.errors import DataError
from etude.records import Origin

Columns = dict[str, object]
LONGEST_CELL = 2**31 - 1
DOCUMENT_CHARACTERS = 4_000
HEADING = re.compile(r"#{1,2} \S|= [^=].*[^=] =\s*$")
SPACE = re.compile(r"[ \t\r\n]*")
MAGIC = (
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"PK\x03\x04", "a zip archive or an Excel sheet", "unpack it, or save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
    (b"\x80\x04", "a pickle", "such files can run code; save the rows as JSONL"),
)
UTF_MARKS = ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as columns and values; a row that is a list of messages or a bare string has one column."""

    origin: Origin
    columns: Columns
    raw: str


def rows(file: SourceFile, content: bytes) -> Iterator[RawRow | BadRow]:
    """The rows of a file's bytes; DataError if the file as a whole is empty, in another encoding or broken."""
    if not content.strip(b" \t\r\n\xef\xbb\xbf"):
        raise DataError("the file is empty", where=file.name, remedy="give a file with at least one row")
    if file.format == "Parquet":
        return parquet_rows(content, file.name)
    text = decode(content, file.name)
    readers: dict[str, Callable[[str, str], Iterator[RawRow | BadRow]]] = {
        "JSONL": jsonl_rows, "JSON": json_rows, "CSV": csv_rows, "TSV": tsv_rows,
        "text": whole_text if file.whole else text_documents,
    }  # fmt: skip
    return readers[file.format](text, file.name)


def decode(content: bytes, name: str) -> str:
    """UTF-8 with or without byte order mark; wrong bytes survive as surrogates, so that only their row is lost."""
    for magic, what, remedy in MAGIC:
        if content.startswith(magic):
            raise DataError(f"the file is {what}, whatever its ending says", where=name, remedy=remedy)
    encoding = next((encoding for mark, encoding in UTF_MARKS if content.startswith(mark)), None)
    head = content[:4096]
    if encoding is None and head.count(0) > len(head) // 5:
        encoding = "UTF-16LE" if head[1::2].count(0) > head[0::2].count(0) else "UTF-16BE"
    if encoding is not None:
        remedy = f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8-{name.rpartition('/')[2]}"
        raise DataError(f"the file is {encoding}, not UTF-8", where=name, remedy=remedy)
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


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


def jsonl_rows(text: str, name: str) -> Iterator[RawRow | BadRow]:
    """One JSON value a line; blank lines between rows are counted as bad, those at the end are not."""
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        origin, raw = Origin(name, number), line.rstrip("\r")
        try:
            yield RawRow(origin, _columns(_parse(raw)), raw)
        except RowError as error:
            yield BadRow(origin, str(error), raw)


def json_rows(text: str, name: str) -> Iterator[RawRow | BadRow]:
    """An array of rows, an object that holds one (`{"data": [...]}`), an object of rows by id, or JSON lines."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        if text.lstrip().startswith("["):
            yield from _array(text, name)
            return
        yield from _object(text, name)
    except json.JSONDecodeError as error:
        if _parses(first):
            yield from jsonl_rows(text, name)
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
        return RawRow(origin, _columns(value), raw)
    except RowError as error:
        return BadRow(origin, str(error), raw)


def _parse(line: str) -> object:
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
        _parse(line)
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


def _columns(value: object) -> Columns:
    if isinstance(value, dict):
        if not value:
            raise RowError("an empty object")
        return value
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list):
        return {"messages": value}
    raise RowError(f"a row must be a JSON object, found {json.dumps(value)[:40]}")


def tsv_rows(text: str, name: str) -> Iterator[RawRow | BadRow]:
    """Tab-separated rows under a header."""
    return csv_rows(text, name, delimiter="\t")


def csv_rows(text: str, name: str, *, delimiter: str | None = None) -> Iterator[RawRow | BadRow]:
    """Rows under a header, separated by the commonest of comma, semicolon, tab and bar in the header; lines are counted
    where a row starts."""
    csv.field_size_limit(LONGEST_CELL)
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in StringIO(text.rstrip("\r\n"), newline=""):
            taken.append(line)
            yield line

    first = next(iter(StringIO(text)))
    reader = csv.reader(lines(), delimiter=delimiter or max(",;\t|", key=first.count), strict=True)
    try:
        header = _header(next(reader), name)
    except csv.Error as error:
        raise DataError(f"the header is broken: {error}", where=f"{name}:1", remedy="name every column once") from None
    while True:
        origin = Origin(name, reader.line_num + 1)
        taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(origin, f"broken quoting: {error}", "".join(taken))
            continue
        yield _table_row(header, cells, origin, "".join(taken))


def _header(names: list[str], name: str) -> list[str]:
    header = [column.strip() for column in names]
    wrong = not_utf8("".join(header))
    twice = sorted({column for column in header if header.count(column) > 1})
    if wrong or twice or not all(header):
        found = wrong or (f"the column {twice[0]!r} appears twice" if twice else "a column of the header has no name")
        raise DataError(found, where=f"{name}:1", remedy="the first line must name every column once")
    return header


def _table_row(header: list[str], cells: list[str], origin: Origin, raw: str) -> RawRow | BadRow:
    if not any(cells):
        return BadRow(origin, "empty line", raw)
    if len(cells) != len(header):
        return BadRow(origin, f"{len(cells)} cells under {len(header)} columns", raw)
    wrong = not_utf8("".join(cells))
    return BadRow(origin, wrong, raw) if wrong else RawRow(origin, dict(zip(header, cells, strict=True)), raw)


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


def whole_text(text: str, name: str) -> Iterator[RawRow | BadRow]:
    """A text of a folder: one document."""
    yield _document(text.replace("\r\n", "\n").strip("\n"), Origin(name, 1))


def text_documents(text: str, name: str) -> Iterator[RawRow | BadRow]:
    """A single text: paragraphs gathered into documents of up to 4,000 characters.

    A heading (`# …`, `= … =`) begins a new one. A longer paragraph stays whole; it is learned in windows of max_tokens.
    """
    gathered: list[str] = []
    start = 1
    size = 0
    for number, paragraph in _paragraphs(text):
        if gathered and (size + len(paragraph) > DOCUMENT_CHARACTERS or HEADING.match(paragraph.strip())):
            yield _document("\n\n".join(gathered), Origin(name, start))
            gathered, size = [], 0
        if not gathered:
            start = number
        gathered.append(paragraph)
        size += len(paragraph) + 2
    yield _document("\n\n".join(gathered), Origin(name, start))


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    held: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip():
            held.append(line)
        elif held:
            yield number - len(held), "\n".join(held)
            held = []
    if held:
        yield text.replace("\r\n", "\n").count("\n") + 2 - len(held), "\n".join(held)


def _document(text: str, origin: Origin) -> RawRow | BadRow:
    wrong = not_utf8(text)
    return BadRow(origin, wrong, text) if wrong else RawRow(origin, {"text": text}, text)
