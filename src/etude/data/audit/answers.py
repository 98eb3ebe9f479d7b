"""Whether answers are written in one way: JSON with the same keys, the same ends, nothing left over from a template."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Severity, Spotted
from etude.data.audit.remedies import Remedies
from etude.data.columns import kind_of

RULE = 0.9
"""The share of answers from which on a form is the rule, and others are exceptions to it."""
EXCEPTION = 0.02
"""The share up to which a form is an exception."""
FEWEST = 20
MOST_SHAPES = 2_000
SENTENCE_CHARACTERS = 60
ENDINGS = ".!?…。！？؟।:;)]}\"'”’»`*_>|"
PLACEHOLDER = re.compile(
    r"\{\{\s*[\w.]+\s*\}\}|\[(?:insert|your|company|customer|name|date|link)\b[^\]\n]{0,40}\]"
    r"|<(?:insert|your)[ _][^>\n]{0,40}>|lorem ipsum",
    re.IGNORECASE,
)
BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence)\b(?: language model| assistant| model)?"
    r"|\bi(?:'|’)?m (?:just )?an? (?:ai|language model)\b"
    r"|\bmy (?:knowledge cutoff|training data)\b|\bopenai\b|\bregenerate response\b",
    re.IGNORECASE,
)
OPENING = re.compile(r"(?:sure|certainly|of course|absolutely|great question|here(?: is|'s|’s) )\b", re.IGNORECASE)


def form(answer: str) -> str:
    """What an answer is written as: `JSON object`, `JSON list`, `number`, `code block`, `label or phrase`, `text`."""
    text = answer.strip()
    if text[:1] in "{[" and text[:1]:
        held = parsed(text)
        if isinstance(held, dict):
            return "JSON object"
        if isinstance(held, list):
            return "JSON list"
    if text.startswith("```"):
        return "code block"
    if text.replace(",", "").replace(".", "", 1).removeprefix("-").isdecimal():
        return "number"
    return "text" if len(text) > SENTENCE_CHARACTERS or "\n" in text or text[-1:] in ".!?" else "label or phrase"


def parsed(text: str) -> object:
    """The JSON value that a text holds, None if it holds none."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def shape(held: dict[str, object]) -> str:
    """Keys in their order, with the kind of each value."""
    return ", ".join(f"{key}: {kind_of(value)}" for key, value in held.items())


class _Slip(NamedTuple):
    look: Callable[[str], str | None]
    severity: Severity
    title: str
    advice: str
    is_exception: bool
    """Said only where it is rare: what most answers do is their style."""


def _spaces(answer: str) -> str | None:
    return f"{answer[:40]!r}…{answer[-20:]!r}" if answer != answer.strip() else None


def _unfinished(answer: str) -> str | None:
    text = answer.rstrip()
    is_open = len(text) > SENTENCE_CHARACTERS and text[-1:] not in ENDINGS and (text[-1:].isalnum() or text[-1:] == ",")
    return f"…{text[-80:]}" if is_open else None


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def look(answer: str) -> str | None:
        found = pattern.search(answer)
        return found and answer[max(0, found.start() - 40) : found.end() + 60]

    return look


SLIPS: Mapping[str, _Slip] = {
    "outer-spaces": _Slip(
        _spaces, "warning", "{rows} have an answer that begins or ends with white space",
        "The model learns to write it, and exact matches fail.", False,
    ),
    "unfinished-answers": _Slip(
        _unfinished, "note", "{rows} have an answer that seems to break off, unlike the others",
        "A model that learns from cut answers stops in the middle.", True,
    ),
    "placeholders": _Slip(
        _matching(PLACEHOLDER), "warning", "{rows} have a template's placeholder left in the answer",
        "The model would send it to a customer. Fill it in, or leave the row out.", True,
    ),
    "boilerplate": _Slip(
        _matching(BOILERPLATE), "note", "{rows} have an answer that speaks as another assistant (“as an AI …”)",
        "The model will say so too. Rewrite the answer, or leave the row out.", False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AnswerTable:
    """How answers are written."""

    forms: tuple[tuple[str, int], ...]
    """From the commonest on."""
    shapes: tuple[tuple[str, int], ...]
    """Keys and kinds of JSON objects."""
    openings: tuple[tuple[str, int], ...]
    """The commonest first words of texts."""
    rows: int


@dataclass
class Answers:
    """Looks at the answers as they pass."""

    rows: int = 0
    forms: dict[str, Spotted] = field(default_factory=dict)
    shapes: dict[str, Spotted] = field(default_factory=dict)
    openings: Counter[str] = field(default_factory=Counter)
    slips: dict[str, Spotted] = field(default_factory=lambda: {name: Spotted() for name in SLIPS})
    echoes: Spotted = field(default_factory=Spotted)

    def take(self, one: Example) -> None:
        """One more row, if it has an answer."""
        if not one.answer:
            return
        self.rows += 1
        kind = form(one.answer)
        _noted(self.forms, kind, one)
        if kind == "JSON object":
            held = parsed(one.answer.strip())
            assert isinstance(held, dict)
            _noted(self.shapes, shape(held), one)
        elif kind == "text" and len(self.openings) < MOST_SHAPES:
            self.openings[" ".join(one.answer.split(maxsplit=3)[:3])] += 1
        for name, slip in SLIPS.items():
            shown = slip.look(one.answer)
            if shown is not None:
                self.slips[name].add(one.origin, shown)
        if one.answer.strip() == one.question.strip():
            self.echoes.add(one.origin, one.answer)

    def finish(self) -> AnswerTable | None:
        """How answers are written; None if there are none."""
        if not self.rows:
            return None
        return AnswerTable(
            _ranked(self.forms), _ranked(self.shapes),
            tuple((words, count) for words, count in self.openings.most_common(12) if count > 2), self.rows,
        )  # fmt: skip

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What is odd about them."""
        if self.rows < FEWEST:
            return []
        return [*self._forms(remedies), *self._shapes(remedies), *self._slips(remedies)]

    def _forms(self, remedies: Remedies) -> list[Finding]:
        (usual, most), *others = _ranked(self.forms)
        if most < RULE * self.rows:
            return []
        strict = usual in ("JSON object", "JSON list", "number", "code block")
        return [
            finding
            for name, _ in others
            if strict
            for finding in self.forms[name].finding(
                "answer-form", "error", f"{{rows}} have a {name} for an answer where the others have a {usual}",
                advice="Whoever reads the answers with a program will fail on them.",
                command=remedies.drop("answer-form"),
            )
        ]  # fmt: skip

    def _shapes(self, remedies: Remedies) -> list[Finding]:
        ranked = _ranked(self.shapes)
        objects = sum(count for _, count in ranked)
        if objects < FEWEST or ranked[0][1] < RULE * objects:
            return []
        usual = ranked[0][0]
        found: list[Finding] = []
        for name, count in ranked[1:]:
            if count <= max(1, EXCEPTION * objects):
                found += self.shapes[name].finding(
                    "json-shape", "warning", f"{{rows}} have JSON answers {_difference(name, usual)}",
                    advice=f"Elsewhere they are {{{usual}}}. A model learns both, and answers with either.",
                    command=remedies.drop("json-shape"),
                )  # fmt: skip
        return found

    def _slips(self, remedies: Remedies) -> list[Finding]:
        found = [
            finding
            for name, slip in SLIPS.items()
            if not slip.is_exception or self.slips[name].count <= (1 - RULE) * self.rows
            for finding in self.slips[name].finding(
                name, slip.severity, slip.title, advice=slip.advice,
                command=remedies.clean() if name == "outer-spaces" else remedies.drop(name),
            )
        ]  # fmt: skip
        return found + self.echoes.finding(
            "echo", "warning", "{rows} answer with the very input",
            advice="Fine for copying tasks; otherwise the answer was lost.", command=remedies.drop("echo"),
        )  # fmt: skip


def _noted(held: dict[str, Spotted], name: str, one: Example) -> None:
    if name in held or len(held) < MOST_SHAPES:
        held.setdefault(name, Spotted()).add(one.origin, one.answer)


def _ranked(held: Mapping[str, Spotted]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(((name, spotted.count) for name, spotted in held.items()), key=lambda pair: -pair[1]))


def _difference(name: str, usual: str) -> str:
    keys, others = ([part.partition(":")[0] for part in text.split(", ")] for text in (name, usual))
    missing = [key for key in others if key not in keys]
    extra = [key for key in keys if key not in others]
    if missing or extra:
        parts = [f"without {', '.join(missing)}"] if missing else []
        return " and ".join([*parts, *([f"with {', '.join(extra)}"] if extra else [])])
    if keys != others:
        return f"whose keys are in another order ({', '.join(keys)})"
    return f"with other types ({name})"
