"""Redaction of a whole row: every text in it, JSON inside texts included, each value replaced wherever it stands again.

Texts keep their structure: a JSON answer stays the JSON that it was, keys, spaces and escapes included.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etude.data.redaction.detect import ORDER as KIND_ORDER
from etude.data.redaction.detect import DetectOptions, Finder, detect
from etude.data.redaction.gazetteer import words
from etude.data.redaction.names import PARTICLES, SUFFIXES, TITLES
from etude.data.redaction.spans import Span, resolve

STRUCTURAL = frozenset({"role", "from", "type", "weight", "kind"})
"""Columns whose words mean something to the program that reads them."""
PLAIN = frozenset(
    {
        "messages", "conversations", "content", "value", "text", "prompt", "completion", "instruction", "input",
        "output", "query", "question", "answer", "response", "chosen", "rejected", "system", "context", "arguments",
        "function", "tool_calls", "tools", "reasoning_content", "reasoning", "thinking", "documents", "contexts",
        "passages", "passage",
    }
)  # fmt: skip
"""Columns whose names say nothing of what stands in them."""
REPEATED = frozenset(
    {
        "secret", "email", "iban", "card", "national-id", "phone", "address", "name", "organisation", "account-number",
        "medical-record", "case-number", "mac", "ip",
    }
)  # fmt: skip
"""Kinds whose values are replaced wherever they stand in a row once they are found in one place."""
SHORTEST_REPEATED = 3
STYLES: tuple[dict[str, Any], ...] = tuple(
    {"separators": separators, "indent": indent, "ensure_ascii": escaped}
    for escaped in (False, True)
    for separators, indent in (((", ", ": "), None), ((",", ":"), None), ((",", ": "), 2), ((",", ": "), 4))
)
Replace = Callable[[str, str], str]
"""From kind and text to what stands instead."""
Path = tuple[str | int, ...]


def mask(kind: str, text: str) -> str:
    """`[EMAIL]` for an e-mail address, whatever it was."""
    return f"[{kind.upper().replace('-', '_')}]"


@dataclass(frozen=True)
class _Leaf:
    """A text of a row, and what is known to stand before it."""

    text: str
    label: str
    """The key under which it stands, where a key says something (`{"phone": …}`)."""


@dataclass(frozen=True)
class Redactor:
    """What is looked for and what stands instead."""

    options: DetectOptions
    replace: Replace = mask
    finders: Sequence[Finder] = ()
    columns: frozenset[str] | None = None
    """The columns to redact; None: all."""

    def text(self, text: str) -> tuple[str, Counter[str]]:
        """A text without what was found in it, and how often each kind was."""
        made, counts = self.values({"text": text})
        return str(made["text"]), counts

    def values(self, row: Mapping[str, object]) -> tuple[dict[str, object], Counter[str]]:
        """A row's columns without what was found in them, and how often each kind was."""
        taken = {key: value for key, value in row.items() if self.columns is None or key in self.columns}
        leaves = dict(_leaves(taken, (), ""))
        found = {path: self._spans(leaf) for path, leaf in leaves.items()}
        known = {
            leaf.text[span.start : span.stop]: span.kind
            for path, leaf in leaves.items() for span in found[path] if span.kind in REPEATED
        }  # fmt: skip
        again = _pattern(known)
        counts: Counter[str] = Counter()
        texts = {}
        for path, leaf in leaves.items():
            spans = _with_repeated(leaf.text, found[path], known, again)
            counts.update(span.kind for span in spans)
            texts[path] = self._replaced(leaf.text, spans)
        made = {key: _rebuilt(value, (key,), texts) for key, value in taken.items()}
        return {**row, **made}, counts

    def _spans(self, leaf: _Leaf) -> list[Span]:
        if not leaf.label:
            return detect(leaf.text, self.options, finders=self.finders)
        lead = f"{leaf.label}: "
        found = detect(lead + leaf.text, self.options, finders=self.finders)
        moved = (Span(max(0, span.start - len(lead)), span.stop - len(lead), span.kind) for span in found)
        return [span for span in moved if span.stop > span.start]

    def _replaced(self, text: str, spans: Iterable[Span]) -> str:
        pieces, at = [], 0
        for span in spans:
            pieces += [text[at : span.start], self.replace(span.kind, text[span.start : span.stop])]
            at = span.stop
        return "".join((*pieces, text[at:]))


def _leaves(value: object, path: Path, label: str) -> Iterator[tuple[Path, _Leaf]]:
    """Every text and whole number below a value, those inside JSON texts included."""
    if isinstance(value, str):
        inner = _json_in(value)
        if inner is None:
            yield path, _Leaf(value, label)
        else:
            yield from _leaves(inner, (*path, ""), label)
    elif isinstance(value, dict):
        for key, held in value.items():
            if not (isinstance(held, str) and key in STRUCTURAL):
                yield from _leaves(held, (*path, key), "" if key in PLAIN else _as_words(key))
    elif isinstance(value, list | tuple):
        for place, held in enumerate(value):
            yield from _leaves(held, (*path, place), label)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path, _Leaf(str(value), label)


def _as_words(key: object) -> str:
    """`customerName` and `customer_name` as "customer name"."""
    return re.sub(r"[_\W]+|(?<=[a-z])(?=[A-Z])", " ", str(key)).strip().lower()


def _json_in(text: str) -> dict[str, object] | list[object] | None:
    """The object or array that a text is, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _rebuilt(value: object, path: Path, texts: Mapping[Path, str]) -> object:
    if path in texts:
        return _as_number(texts[path], value) if isinstance(value, int) else texts[path]
    if isinstance(value, str):
        inner = _json_in(value)
        if inner is None:
            return value
        made = _rebuilt(inner, (*path, ""), texts)
        return value if made == inner else _dumped(made, inner, value)
    if isinstance(value, dict):
        return {key: _rebuilt(held, (*path, key), texts) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(held, (*path, place), texts) for place, held in enumerate(value)]
    return value


def _as_number(text: str, before: int) -> object:
    """A number where the text still is one."""
    return int(text) if re.fullmatch(r"-?\d+", text) else before if text == str(before) else text


def _dumped(made: object, inner: object, text: str) -> str:
    """JSON as the text before it was written, as far as that can be told."""
    bare = text.strip()
    style = next((style for style in STYLES if json.dumps(inner, **style) == bare), STYLES[0])
    before, _, after = text.partition(bare)
    return before + json.dumps(made, **style) + after


def _pattern(known: dict[str, str]) -> re.Pattern[str] | None:
    """What finds all known values again; the parts of a name are known too."""
    for value, kind in list(known.items()):
        if kind == "name":
            known.update({part: "name" for part in _parts(value) if part not in known})
    values = sorted((value for value in known if len(value) >= SHORTEST_REPEATED), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, values))})(?!\w)") if values else None


def _parts(name: str) -> Iterator[str]:
    """The words of a full name that are nothing else."""
    found = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", name)
    for word in found if len(found) > 1 else ():
        plain = word.lower() in PARTICLES | SUFFIXES | TITLES or word.lower() in words()
        if len(word) >= SHORTEST_REPEATED and word[0].isupper() and not plain:
            yield word


def _with_repeated(text: str, found: list[Span], known: Mapping[str, str], again: re.Pattern[str] | None) -> list[Span]:
    if again is None:
        return found
    more = [Span(*match.span(), known[match[0]]) for match in again.finditer(text)]
    inside = [span for span in more if not any(each.start <= span.start and span.stop <= each.stop for each in found)]
    return resolve([*found, *inside], KIND_ORDER) if inside else found
