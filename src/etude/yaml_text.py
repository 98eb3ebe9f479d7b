"""YAML as people write it: YAML 1.2's plain values, each with its line, and no construct that can surprise.

Differs from PyYAML's defaults (YAML 1.1) where those bite: `1e-3` is a number, `no` and `on` are text, duplicate keys
and tags are errors, and size, nesting and aliases are bounded (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from etude.errors import ConfigError

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Where = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 10_000

_WORD_STARTS = ["~", *"nNtTfF", ""]
_NUMBER_STARTS = list("-+.0123456789")
_PLAIN_VALUES = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", _WORD_STARTS),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", _WORD_STARTS),
    ("tag:yaml.org,2002:int", r"^(?:[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+)$", _NUMBER_STARTS),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        _NUMBER_STARTS,
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own class attribute, refilled below)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012  (as above)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # YAML takes these for line breaks and folds them to spaces unless they are escaped.
    quoted = any(char in text for char in "\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _text)
for _tag, _pattern, _starts in _PLAIN_VALUES:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _starts)
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), _starts)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain values, with the line of every key and list item."""

    value: Plain
    lines: Mapping[Where, int]
    problems: tuple[tuple[Where, str], ...] = ()
    """Duplicate keys and the like: (place, what is wrong), for everything that parsed but cannot be meant."""


def read_text(path: Path, *, needs: str) -> str:
    """The file's text; ConfigError when it is missing, empty, too big or not UTF-8.

    `needs` ends the message about an empty file: "a run file needs at least model and data".
    """
    name = str(path)
    try:
        if path.is_dir():
            raise ConfigError("is a folder, not a file of settings", where=name)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"has {size:,} bytes, more than a file of settings can have ({MAX_BYTES:,})",
                where=name,
                remedy="is this a data file? A run file names it under data.train",
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", where=name, remedy=_nearby(path)) from None
    except PermissionError:
        raise ConfigError("may not be read (permission denied)", where=name) from None
    except UnicodeDecodeError as error:
        found = f"is not UTF-8 text (byte 0x{error.object[error.start]:02x} at offset {error.start})"
        raise ConfigError(found, where=name, remedy="save it as UTF-8") from None
    if not text.strip():
        raise ConfigError("is empty", where=name, remedy=needs)
    return text


def _nearby(path: Path) -> str | None:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    near = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {str(path.with_name(near[0]))!r}?" if near else None


def parse(text: str, *, where: str) -> Document:
    """The text's one YAML document; ConfigError with line and column when it cannot be read."""
    try:
        _bound(text, where)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, text, where) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({error})".replace("\n", " "), where=where) from None
    if node is None:
        raise ConfigError("holds only comments", where=where)
    reader = _Reader(where)
    value = reader.read(node, ())
    return Document(value=value, lines=reader.lines, problems=tuple(reader.problems))


def dump(value: Plain) -> str:
    """The value as YAML that `parse` reads back equal."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def dump_inline(value: Plain) -> str:
    """The value as YAML on one line: `[a, b]`, `null`, `0.0002`."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _bound(text: str, where: str) -> None:
    """Refuse deep nesting and floods of nodes while they are still events: composing recurses."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > 2 * MAX_NODES:
            limit = f"{MAX_DEPTH} levels deep" if depth > MAX_DEPTH else f"{MAX_NODES:,} values long"
            raise ConfigError(f"is more than {limit}: not settings", where=f"{where}:{line}")


def _not_yaml(error: yaml.MarkedYAMLError, text: str, where: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    place = f"{where}:{mark.line + 1}" if mark else where
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or "'\\t'" in (error.problem or ""):
        return ConfigError("a tab is used for indentation", where=place, remedy="YAML allows only spaces there")
    found = ", ".join(part for part in (error.context, error.problem) if part)
    shown = f" in {line.strip()[:60]!r}" if line.strip() else ""
    return ConfigError(f"is not YAML: {found}{shown}", where=place)


@dataclass(slots=True)
class _Reader:
    """Turns nodes into plain values, and keeps lines and problems on the way."""

    source: str
    lines: dict[Where, int] = field(default_factory=dict)
    problems: list[tuple[Where, str]] = field(default_factory=list)
    num_nodes: int = 0

    def read(self, node: yaml.Node, where: Where) -> Plain:
        self.num_nodes += 1
        line = node.start_mark.line + 1
        if len(where) > MAX_DEPTH or self.num_nodes > MAX_NODES:
            raise ConfigError("aliases (*name) make it grow without bound", where=f"{self.source}:{line}")
        self.lines.setdefault(where, line)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, (*where, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        raise ConfigError(
            f"the tag {node.tag!r} is not allowed", where=f"{self.source}:{line}", remedy="write a plain value"
        )

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.problems.append((where, f"line {line}: a setting's name must be a plain word"))
                continue
            if key in found:
                self.problems.append(((*where, key), f"given twice, on lines {first_line[key]} and {line}"))
                continue
            first_line[key] = line
            self.lines[(*where, key)] = line
            found[key] = self.read(value_node, (*where, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Plain:
        text: str = node.value
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise ConfigError(f"{text[:40]!r} is not a number", where=f"{self.source}:{line}") from None
        raise ConfigError(
            f"the tag {node.tag!r} is not allowed", where=f"{self.source}:{line}", remedy="write a plain value"
        )


def show(where: Sequence[str | int]) -> str:
    """A place in the document as people write it: `evaluation.tasks[0]`."""
    shown = ""
    for part in where:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown
