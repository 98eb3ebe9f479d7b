"""From a run file's text to a RunFile, or to the list of everything that is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude import yaml_text
from etude.config.kinds import DEFAULT_KINDS, TABLES, kind_class, kinds
from etude.config.names import PLAIN, SECTIONS, hint, nearest, settings
from etude.config.paths import missing_files, resolve_paths
from etude.config.run_file import Checked, RunFile
from etude.data.options import DataOptions
from etude.endpoints.options import EndpointOptions
from etude.errors import ConfigError, Problems
from etude.yaml_text import Document, Plain, Where

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping of name: value",
    "mapping": "a mapping of name: value",
    "dataclass": "a section of settings",
}
NEEDS = "a run file needs at least model and data"
STEPS = "data.steps"
SHORTHANDS = {"model": "name", "technique": "kind", "objective": "kind"}


def load_run_file(path: str | Path, overrides: Sequence[str] = (), *, check_files: bool = True) -> RunFile:
    """The run file at `path`, with `section.setting=value` overrides applied and its paths made absolute.

    Paths are relative to the run file's folder, `output` to the current one. Raises Problems with everything that is
    wrong at once, files that are not there included unless `check_files` is off; ConfigError where nothing can be read.
    """
    path = Path(path)
    document = yaml_text.parse(yaml_text.read_text(path, needs=NEEDS), where=str(path))
    if not isinstance(document.value, dict):
        shown = "a list" if isinstance(document.value, list) else repr(document.value)[:60]
        raise ConfigError(f"expected settings such as 'model: …', got {shown}", where=str(path))
    return Decoder(path=path, document=document).run_file(document.value, overrides, check_files=check_files)


def load_endpoint(path: str | Path) -> EndpointOptions:
    """The endpoint that a file of settings describes; Problems with everything that is wrong, ConfigError as above."""
    needs = "an endpoint needs at least url and model"
    path = Path(path)
    document = yaml_text.parse(yaml_text.read_text(path, needs=needs), where=str(path))
    if not isinstance(document.value, dict):
        raise ConfigError("holds no settings", where=str(path), remedy=needs)
    return Decoder(path=path, document=document).endpoint(document.value)


@dataclass(slots=True)
class Decoder:
    """Everything that is wrong with a run file, and the run file if nothing is."""

    path: Path
    document: Document
    of: str | None = None
    """The stage, where the file has several."""
    not_yet: tuple[str, ...] = ()
    """Files that earlier stages will make."""
    found: list[tuple[Where, str]] = field(default_factory=list)
    overridden: set[Where] = field(default_factory=set)

    def run_file(self, tree: dict[str, Plain], overrides: Sequence[str], *, check_files: bool) -> RunFile:
        self.found.extend(self.document.problems)
        tree = _spelled_out(tree)
        for override in overrides:
            self._override(tree, override)
        tree = _spelled_out(tree)
        tree.setdefault("output", f"runs/{self.path.name.split('.')[0]}")
        for name in tree.keys() - SECTIONS.keys():
            self.found.append(((name,), f"unknown setting{hint(name, SECTIONS)}"))
        sections = {name: self._section(name, tree) for name in SECTIONS}
        complete = {name: section for name, section in sections.items() if section is not None}
        complete = resolve_paths(complete, self.path.parent)
        if check_files:
            self.found.extend(missing_files(complete, self.path.parent, not_yet=self.not_yet))
        if len(complete) == len(SECTIONS) and not self.found:
            loaded = RunFile(**complete)  # type: ignore[arg-type]  # each section was decoded as its field's type
            self.found.extend((_place(setting), wrong) for setting, wrong in loaded.problems())
            if not self.found:
                return loaded
        raise Problems(f"{self.path}, stage {self.of}" if self.of else str(self.path), self._lines())

    def endpoint(self, tree: dict[str, Plain]) -> EndpointOptions:
        self.found.extend(self.document.problems)
        decoded = self._validated(EndpointOptions, tree, ())
        if self.found or not isinstance(decoded, EndpointOptions):
            raise Problems(str(self.path), self._lines())
        return decoded

    def _override(self, tree: dict[str, Plain], text: str) -> None:
        dotted, equals, value = text.partition("=")
        where: Where = tuple(dotted.strip().split("."))
        if not equals or not all(where):
            raise ConfigError(f"expected section.setting=value, got {text!r}", where="command line")
        self.overridden.add(where)
        target: Plain = tree
        for part in where[:-1]:
            target = target.setdefault(str(part), {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            self.found.append((where, f"cannot be set: {yaml_text.show(where[:-1])} is not a section of settings"))
            return
        parsed = yaml_text.parse(value, where=f"command line ({dotted})").value if value.strip() else None
        target[str(where[-1])] = parsed

    def _section(self, name: str, tree: dict[str, Plain]) -> object | None:
        """The section as its dataclass; None after noting what is wrong with it."""
        if name in TABLES:
            return self._kind(name, tree.get(name) or {}, (name,))
        if name == "data" and isinstance(tree.get(name), dict):
            return self._data(dict(tree[name]))  # type: ignore[arg-type]
        if name in PLAIN:
            return self._validated(SECTIONS[name].type, tree.get(name, PLAIN[name]), (name,))
        if tree.get(name) is None:
            if SECTIONS[name].required:
                self.found.append(((name,), f"missing; it says {SECTIONS[name].says}"))
                return None
            return self._validated(SECTIONS[name].type, {}, (name,))
        return self._validated(SECTIONS[name].type, tree[name], (name,))

    def _data(self, value: dict[str, Plain]) -> object | None:
        """The section `data`, whose steps are of many kinds."""
        written = value.pop("steps", None) or []
        if not isinstance(written, list):
            self.found.append((("data", "steps"), f"expected a list of steps, got {_short(written)}"))
            written = []
        spelled: list[Plain] = [{"kind": item} if isinstance(item, str) else item for item in written]
        steps = [self._kind(STEPS, item, ("data", "steps", at)) for at, item in enumerate(spelled)]
        data = self._validated(DataOptions, value, ("data",))
        return (
            replace(data, steps=tuple(step for step in steps if step is not None))
            if isinstance(data, DataOptions)
            else data
        )

    def _kind(self, section: str, value: Plain, where: Where) -> object | None:
        example = DEFAULT_KINDS.get(section, "…")
        if not isinstance(value, dict):
            self.found.append((where, f"expected settings such as 'kind: {example}', got {_short(value)}"))
            return None
        kind = value.get("kind", DEFAULT_KINDS.get(section))
        chosen = kind_class(section, kind) if isinstance(kind, str) else None
        if chosen is not None:
            foreign = self._foreign(section, str(kind), value, where)
            return self._validated(chosen, {name: value[name] for name in value if name not in foreign}, where)
        known = kinds(section)
        near = f"; did you mean {nearest(kind, known)!r}?" if isinstance(kind, str) and nearest(kind, known) else ""
        self.found.append(
            ((*where, "kind"), f"unknown kind {_short(kind)}{near or '; choose from ' + ', '.join(known)}")
        )
        return None

    def _foreign(self, section: str, kind: str, value: dict[str, Plain], where: Where) -> set[str]:
        """Names of settings that only other kinds of this section have; each is noted as such."""
        own = settings(kind_class(section, kind) or object)
        others = [other for other in reversed(list(TABLES[section])) if other != kind]  # the first one's name stays
        owners = {name: other for other in others for name in settings(kind_class(section, other) or object)}
        foreign = {name for name in value if name not in own and name in owners}
        whole = f"; {section}={kind} replaces the whole section" if (*where, "kind") in self.overridden else ""
        self.found.extend(
            ((*where, name), f"belongs to kind {owners[name]}, not to {kind}; leave it out{whole}") for name in foreign
        )
        return foreign

    def _validated(self, kind: type, value: Plain, where: Where) -> object | None:
        from pydantic import TypeAdapter, ValidationError

        endless = list(_endless(value, where))
        self.found.extend((place, "must be a finite number") for place in endless)
        if endless:
            return None
        adapter: TypeAdapter[object] = TypeAdapter(kind)
        try:
            decoded = adapter.validate_json(json.dumps(value), strict=True, extra="forbid")
        except ValidationError as error:
            wrong = error.errors(include_url=False)
            self.found.extend(_plain_words(wrong, value, where, settings(kind)))
            decoded = _rest(adapter, value, {str(one["loc"][0]) for one in wrong if one["loc"]})
            self._check_ranges(decoded, where)
            return None
        self._check_ranges(decoded, where)
        return decoded

    def _check_ranges(self, decoded: object, where: Where) -> None:
        if isinstance(decoded, Checked):
            self.found.extend(((*where, *_place(setting)), wrong) for setting, wrong in decoded.problems())

    def _lines(self) -> list[str]:
        ordered = sorted(dict.fromkeys(self.found), key=lambda problem: self._line(problem[0]) or 1_000_000)
        return [f"{yaml_text.show(where)}{self._origin(where)}: {wrong}" for where, wrong in ordered]

    def _origin(self, where: Where) -> str:
        if self._from_command_line(where):
            return " (command line)"
        line = self._line(where)
        return f" (line {line})" if line else ""

    def _line(self, where: Where) -> int | None:
        """The line of the place, or of the nearest one around it that the file has."""
        if self._from_command_line(where):
            return None
        around = (where[:depth] for depth in range(len(where), 0, -1))
        return next((self.document.lines[place] for place in around if place in self.document.lines), None)

    def _from_command_line(self, where: Where) -> bool:
        return any(where[: len(given)] == given or given[: len(where)] == where for given in self.overridden)


def _place(setting: str) -> Where:
    """`rewards.0.kind` as the document knows it."""
    return tuple(int(part) if part.isdigit() else part for part in setting.split("."))


def _spelled_out(tree: dict[str, Plain]) -> dict[str, Plain]:
    """`model: name` as `model: {name: name}`, and likewise for kinds."""
    return {
        name: {SHORTHANDS[name]: value} if name in SHORTHANDS and isinstance(value, str) else value
        for name, value in tree.items()
    }


def _rest(adapter: TypeAdapter[object], value: Plain, wrong: set[str]) -> object | None:
    """A section without the settings that could not be read, so that the others' ranges are checked all the same."""
    from pydantic import ValidationError

    if not isinstance(value, dict) or not wrong & value.keys():
        return None
    rest = {name: item for name, item in value.items() if name not in wrong}
    try:
        return adapter.validate_json(json.dumps(rest), strict=True, extra="forbid")
    except ValidationError:
        return None


def _endless(value: Plain, where: Where) -> Iterator[Where]:
    """Places of infinities and NaN, which no setting can mean."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _endless(item, (*where, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _endless(item, (*where, index))


def _plain_words(
    errors: Sequence[ErrorDetails], value: Plain, where: Where, siblings: Sequence[str]
) -> list[tuple[Where, str]]:
    """pydantic's errors, those of one union's branches merged, in a user's words."""
    merged: dict[Where, list[ErrorDetails]] = {}
    for error in errors:
        loc = error["loc"] if error["type"] == "missing" else _inside(error["loc"], value)
        merged.setdefault(loc, []).append(error)
    return [((*where, *loc), _wrong(group, loc, siblings)) for loc, group in merged.items()]


def _inside(loc: Where, value: Plain) -> Where:
    """The part of `loc` that is in the document: a union's errors end in the name of the branch."""
    for depth, part in enumerate(loc):
        if isinstance(value, dict) and isinstance(part, str):
            inner: Sequence[Plain] = [value[part]] if part in value else ()
        else:
            inner = value[part : part + 1] if isinstance(value, list) and isinstance(part, int) else ()
        if not inner:
            return loc[:depth]
        value = inner[0]
    return loc


def _wrong(errors: Sequence[ErrorDetails], loc: Where, siblings: Sequence[str]) -> str:
    first = errors[0]
    if first["type"] == "missing":
        return "missing"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown setting{hint(str(loc[-1]), siblings if len(loc) == 1 else ())}"
    got = first["input"]
    if first["type"] == "literal_error":
        choices = [choice.strip("'") for choice in first["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        near = nearest(got, choices) if isinstance(got, str) else None
        meant = f"; did you mean {near!r}?" if near else ""
        return f"expected {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}, got {_short(got)}{meant}"
    words = dict.fromkeys(EXPECTED.get(error["type"].split("_")[0], error["msg"]) for error in errors)
    return f"expected {' or '.join(words)}, got {_short(got)}{_remedy(got, list(words))}"


def _remedy(got: object, expected: Sequence[str]) -> str:
    if isinstance(got, str) and "a number" in expected and _is_number(got):
        return "; write it without quotes"
    if isinstance(got, float) and "a whole number" in expected and got.is_integer():
        return f"; write {int(got)}"
    if isinstance(got, str) and "true or false" in expected and got.lower() in ("yes", "no", "on", "off"):
        return f"; write {'true' if got.lower() in ('yes', 'on') else 'false'}"
    if isinstance(got, str) and "a list" in expected:
        return f"; write [{got}]"
    if isinstance(got, int | float) and expected == ["text"]:
        return "; write it in quotes"
    return ""


def _is_number(text: str) -> bool:
    return isinstance(yaml_text.parse(text, where="value").value, int | float) if text.strip() else False


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    shown = "nothing" if value is None else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
