"""What the settings are, read from the dataclasses themselves: the reference page and the JSON schema."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from etude.config.kinds import TABLES, kind_class, kinds
from etude.config.names import PLAIN, SECTIONS
from etude.config.run_file import RunFile, plain

WORDS: Mapping[object, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as a reader needs it."""

    name: str
    type: str
    default: str | None
    """As YAML; None where the setting must be given."""
    says: str
    """The docstring under the field."""


def settings(options: type) -> tuple[Setting, ...]:
    """The settings of an options dataclass, in the order of its fields."""
    assert is_dataclass(options)
    hints, says = get_type_hints(options), field_docstrings(options)
    return tuple(
        Setting(name=item.name, type=words(hints[item.name]), default=_default(item), says=says.get(item.name, ""))
        for item in fields(options)
    )


@cache
def field_docstrings(options: type) -> Mapping[str, str]:
    """The string under each field of a dataclass, those that it inherits included, on one line."""
    found: dict[str, str] = {}
    for one in reversed(options.__mro__):
        if "__dataclass_fields__" in one.__dict__:
            found |= _own_docstrings(one)
    return found


def _own_docstrings(options: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(options))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                found[field.target.id] = " ".join(inspect.cleandoc(text).split())
    return found


def words(hint: object) -> str:
    """A type in a user's words: `whole number or null`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(part) for part in inner))
    if origin is Literal:
        return " | ".join(str(choice) for choice in inner)
    if origin is tuple and inner[0] is Any:
        return "list of steps"
    if origin is tuple:
        return f"list of {words(inner[0])}"
    if origin is not None and inner:
        return "mapping of name: " + words(inner[-1])
    return "settings (below)" if is_dataclass(hint) else WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def json_schema() -> dict[str, Any]:
    """JSON schema of a run file, for editors and forms: descriptions and defaults included, unknown keys refused."""
    from pydantic import TypeAdapter

    sections: dict[str, Any] = {}
    says = field_docstrings(RunFile)
    for name, section in SECTIONS.items():
        if name in TABLES:
            sections[name] = {"oneOf": [_object_schema(kind_class(name, kind), TypeAdapter) for kind in kinds(name)]}
        elif is_dataclass(section.type):
            sections[name] = _object_schema(section.type, TypeAdapter)
        else:
            sections[name] = TypeAdapter(section.type).json_schema()
        sections[name]["description"] = says[name]
    steps = [_object_schema(kind_class("data.steps", kind), TypeAdapter) for kind in kinds("data.steps")]
    sections["data"]["properties"]["steps"]["items"] = {"anyOf": [*steps, {"enum": list(kinds("data.steps"))}]}
    for name, key in (("model", "name"), ("technique", "kind"), ("objective", "kind")):
        shorthand = {"type": "string", "description": f"short for {{{key}: …}}"}
        sections[name] = {"anyOf": [sections[name], shorthand], "description": says[name]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Etude run file",
        "type": "object",
        "properties": sections,
        "required": [name for name, section in SECTIONS.items() if section.required],
        "additionalProperties": False,
    }


def markdown() -> str:
    """The reference page of the run file: every section, every setting, its default and what it does."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    says = field_docstrings(RunFile)
    for name, section in SECTIONS.items():
        yield f"## `{name}`\n"
        yield f"{says[name]}\n"
        if name in TABLES:
            yield from _kinds(name)
        elif is_dataclass(section.type):
            yield from _table(section.type)
            yield from _nested(name, section.type)
            if f"{name}.steps" in TABLES:
                yield f"Each of `{name}.steps` is one of these:\n"
                yield from _kinds(f"{name}.steps")
        elif get_origin(section.type) is tuple:
            yield "A list; each entry has\n"
            yield from _table(get_args(section.type)[0])
        elif name in PLAIN:
            default = f"`{PLAIN[name]}`" if PLAIN[name] else "named after the run file"
            yield f"{words(section.type)}; {default} when left out.\n"


def _kinds(section: str) -> Iterator[str]:
    for kind in kinds(section):
        chosen = kind_class(section, kind)
        assert chosen is not None
        yield f"### `kind: {kind}`\n"
        yield f"{_first_line(chosen)}\n"
        yield from _table(chosen)


def _table(options: type, *, with_kind: bool = False) -> Iterator[str]:
    rows = [setting for setting in settings(options) if with_kind or setting.name != "kind"]
    if not rows:
        yield "No settings.\n"
        return
    yield "| setting | type | default | |"
    yield "|---|---|---|---|"
    for setting in rows:
        default = "**required**" if setting.default is None else f"`{setting.default}`"
        yield f"| `{setting.name}` | {_cell(setting.type)} | {default} | {_cell(setting.says)} |"
    yield ""


def _nested(place: str, options: type) -> Iterator[str]:
    """The settings of settings that are sections themselves."""
    for name, hint in get_type_hints(options).items():
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner) and isinstance(inner, type):
                yield f"### `{place}.{name}`\n"
                yield f"{_first_line(inner)}\n"
                yield from _table(inner, with_kind=True)
                yield from _nested(f"{place}.{name}", inner)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _first_line(options: type) -> str:
    return (inspect.getdoc(options) or "").partition("\n\n")[0].replace("\n", " ")


def _default(item: Field[object]) -> str | None:
    from etude import yaml_text

    if item.default is MISSING and item.default_factory is MISSING:
        return None
    value = item.default if item.default_factory is MISSING else item.default_factory()
    return yaml_text.dump_inline(plain(value))


def _object_schema(options: type | None, adapter: Any) -> dict[str, Any]:
    assert options is not None
    schema: dict[str, Any] = adapter(options).json_schema()
    schema["additionalProperties"] = False
    for name, text in field_docstrings(options).items():
        if name in schema.get("properties", {}):
            schema["properties"][name]["description"] = text
    return schema
