"""Which column, or which template over columns, feeds each field of a layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from string import Formatter

from etude.data.check import RowError
from etude.errors import DataError, EtudeError, Problems

FIELDS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages", "tools", "system", "group", "augmented_from"),
    "sharegpt": ("conversations", "tools", "system", "group", "augmented_from"),
    "alpaca": ("instruction", "input", "output", "instances", "system", "group", "augmented_from"),
    "prompt-completion": ("prompt", "completion", "tools", "system", "group", "augmented_from"),
    "preference": ("prompt", "chosen", "rejected", "margin", "weight", "tools", "system", "group", "augmented_from"),
    "judged": ("prompt", "completion", "judgement", "weight", "tools", "system", "group", "augmented_from"),
    "grounded": ("question", "documents", "relevant", "answer", "system", "group", "augmented_from"),
    "text": ("text", "group", "augmented_from"),
}
NEEDED: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
    "preference": ("chosen", "rejected"),
    "judged": ("prompt", "completion", "judgement"),
    "grounded": ("question", "documents", "answer"),
    "text": ("text",),
}


@dataclass(frozen=True, slots=True)
class Feed:
    """A field's value: one column as it stands, or pieces of literal text and columns."""

    column: str | None = None
    pieces: tuple[tuple[str, str | None], ...] = ()
    mapped: bool = False
    """Named by the user, so that numbers are taken as text."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if self.column is not None else tuple(name for _, name in self.pieces if name is not None)

    def value(self, columns: Mapping[str, object]) -> object:
        """The row's value, None if the column is absent; RowError if a template's column holds no text."""
        if self.column is not None:
            held = columns.get(self.column)
            return _scalar(held) if self.mapped and isinstance(held, int | float) else held
        return "".join(
            literal + ("" if name is None else _filled(name, columns.get(name))) for literal, name in self.pieces
        )


def _scalar(held: float) -> str:
    return json.dumps(held)


def _filled(name: str, held: object) -> str:
    if held is None or held == "":
        raise RowError(f"column {name!r} is empty")
    if isinstance(held, int | float):
        return _scalar(held)
    if not isinstance(held, str):
        raise RowError(f"column {name!r} holds {kind_of(held)}, which a template cannot show")
    return held


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "nothing" if value is None else names.get(type(value), f"a value of type {type(value).__name__}")


def parse_mapping(mapping: Mapping[str, str], columns: Iterable[str], *, where: str) -> dict[str, Feed]:
    """Field → Feed for a mapping written by the user; Problems name the nearest column or field for each mistake."""
    known = list(columns)
    fields = sorted({field for names in FIELDS.values() for field in names})
    feeds: dict[str, Feed] = {}
    problems: list[EtudeError | str] = []
    for field, written in mapping.items():
        if field not in fields:
            problems.append(
                f"columns.{field}: unknown field{_nearest(field, fields)}; the fields are {', '.join(fields)}"
            )
            continue
        try:
            feeds[field] = _feed(written, known)
        except RowError as error:
            problems.append(f"columns.{field}: {error}")
    if problems:
        raise Problems(f"{where}: the column mapping does not fit", problems)
    return feeds


def _feed(written: str, known: list[str]) -> Feed:
    if written in known:
        return Feed(column=written, mapped=True)
    listed = f"the columns are {', '.join(known[:20])}"
    if "{" not in written:
        raise RowError(f"no column {written!r}{_nearest(written, known)}; {listed}")
    try:
        parts = list(Formatter().parse(written))
    except ValueError as error:
        raise RowError(f"the template {written!r} cannot be read ({error}); write {{{{ and }}}} for braces") from None
    pieces: list[tuple[str, str | None]] = []
    for literal, name, spec, conversion in parts:
        if name is not None and (spec or conversion):
            raise RowError(f"the template {written!r} may hold column names only, without ':' or '!' after them")
        if name is not None and name not in known:
            raise RowError(f"the template names no column {name!r}{_nearest(name, known)}; {listed}")
        pieces.append((literal, name))
    return Feed(pieces=tuple(pieces), mapped=True)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def layout_for(fields: Iterable[str], *, where: str) -> str | None:
    """The one layout that has all these fields and needs no other, or None; DataError if no layout has them all."""
    wanted = set(fields)
    having = [layout for layout, names in FIELDS.items() if wanted <= set(names)]
    if not having:
        listed = "; ".join(f"{layout}: {', '.join(names)}" for layout, names in FIELDS.items())
        raise DataError(
            f"no layout has the fields {', '.join(sorted(wanted))} together",
            where=where,
            remedy=f"the layouts are {listed}",
        )
    complete = [layout for layout in having if set(NEEDED[layout]) <= wanted]
    return complete[0] if complete else having[0] if len(having) == 1 else None
