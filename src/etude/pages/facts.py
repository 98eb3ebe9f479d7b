"""What went in and what it took: data, time, environment, hashes, and the commands to go on with."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.pages.run_files import RunFiles
from etude.pages.wording import duration, number, percent, size

KINDS = ("learned", "context", "control")
NOT_LISTED = ("report.html", "plots/")
"""Files of the page itself: listing them would need their hash before they are written."""


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Piece:
    """A run of an example's text and what training does with it."""

    text: str
    kind: str


@dataclass(frozen=True)
class Phase:
    name: str
    seconds: float
    text: str
    share: float


@dataclass(frozen=True)
class Command:
    line: str
    says: str


def data_facts(run: RunFiles) -> tuple[Fact, ...]:
    """The data summary, absent parts left out."""
    data = run.data
    tokens, over, twice = _part(data, "tokens"), _part(data, "over_length"), _part(data, "duplicates")
    odd = _part(data, "odd")
    learned, total = tokens.get("learned"), tokens.get("total")
    share = _share(learned, total)
    facts = [
        Fact("source", _text(data.get("source")), _text(data.get("detected"))),
        Fact("training rows", _count(data.get("train_rows"))),
        Fact("held-out rows", _count(data.get("heldout_rows"))),
        Fact("tokens", _count(total)),
        Fact("learned tokens", _count(learned), share),
        Fact("row length", _count(tokens.get("median")), _lengths(tokens)),
        Fact("unusable rows", _count(data.get("bad_rows")), "kept in quarantine.jsonl" if data.get("bad_rows") else ""),
        Fact("over-length rows", _over(over), f"policy: {_text(over.get('policy'))}" if over else ""),
        Fact("long texts", _windows(_part(data, "windows"))),
        Fact(
            "control tokens spelt in content", _count(odd.get("control_text")), "read as plain text, never as control"
        ),
        Fact("duplicates in training", _count(twice.get("within_train"))),
        Fact("rows on both sides", _count(twice.get("across_split")), "training rows that are also held out"),
        Fact("held-out rows with a near copy in training", _count(twice.get("near_across_split"))),
        *(Fact(f"step: {_kind(step)}", _count(step.get("rows_out")), _left_out(step)) for step in _steps(data)),
    ]
    return tuple(fact for fact in facts if fact.value)


def _steps(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = data.get("steps")
    return [step for step in found if isinstance(step, Mapping)] if isinstance(found, list) else []


def _kind(step: Mapping[str, Any]) -> str:
    return _text(_part(step, "settings").get("kind"))


def _left_out(step: Mapping[str, Any]) -> str:
    """What a step left out and changed, in words."""
    counts = {**_part(step, "dropped"), **_part(step, "changed")}
    return f"of {_count(step.get('rows_in'))} rows" + "".join(f"; {_count(counts[what])} {what}" for what in counts)


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _share(part: object, whole: object) -> str:
    if isinstance(part, int | float) and isinstance(whole, int | float) and whole > 0:
        return f"{percent(part / whole)} of all"
    return ""


def _count(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return f"{value:,}" if isinstance(value, int) else number(value)


def _lengths(tokens: Mapping[str, Any]) -> str:
    ends = [(name, _count(tokens.get(key))) for name, key in (("95 % up to", "p95"), ("longest", "longest"))]
    said = ", ".join(f"{name} {value}" for name, value in ends if value)
    return f"median tokens; {said}" if said else "median tokens"


def _windows(windows: Mapping[str, Any]) -> str:
    counts = [f"{_count(count)} {name}" for name, count in windows.items() if count]
    return ", ".join(counts)


def data_notes(run: RunFiles) -> tuple[str, ...]:
    """What the preparation of the data found worth saying."""
    notes = run.data.get("notes")
    return tuple(str(note) for note in notes) if isinstance(notes, list) else ()


def _over(over: Mapping[str, Any]) -> str:
    dropped, truncated = _count(over.get("dropped")), _count(over.get("truncated"))
    if not dropped and not truncated:
        return ""
    return "0" if dropped == "0" and truncated == "0" else f"{dropped or 0} dropped, {truncated or 0} with a cut prompt"


def examples(run: RunFiles) -> tuple[tuple[Piece, ...], ...]:
    """Example rows as coloured pieces; neighbours of one kind are joined."""
    found = run.data.get("examples")
    rows: list[tuple[Piece, ...]] = []
    for row in (row for row in found if isinstance(row, list)) if isinstance(found, list) else ():
        pieces: list[Piece] = []
        for text, kind in (pair for pair in row if isinstance(pair, list) and len(pair) == 2):
            kind = kind if kind in KINDS else "context"
            if pieces and kind == pieces[-1].kind != "control":
                pieces[-1] = Piece(pieces[-1].text + str(text), kind)
            else:
                pieces.append(Piece(str(text), kind))
        rows.append(tuple(pieces))
    return tuple(rows)


def phases(run: RunFiles) -> tuple[Phase, ...]:
    """Where the time went, in the order it happened."""
    timings = run.manifest.timings if run.manifest else {}
    known = {name: seconds for name, seconds in timings.items() if math.isfinite(seconds) and seconds >= 0}
    total = sum(known.values()) or 1.0
    return tuple(Phase(name, seconds, duration(seconds), seconds / total) for name, seconds in known.items())


def train_seconds(run: RunFiles) -> float | None:
    """Of the manifest's phase `train`; without it, the sum of all updates."""
    timings = run.manifest.timings if run.manifest else {}
    return timings.get("train") or run.metrics.seconds or None


def speed_facts(run: RunFiles) -> tuple[Fact, ...]:
    """Tokens and rows a second over the updates alone, and what prefix sharing saved."""
    metrics = run.metrics
    if metrics.seconds <= 0:
        return ()
    shared = ""
    if 0 < metrics.tokens_computed < metrics.tokens:
        shared = f"{percent(1 - metrics.tokens_computed / metrics.tokens)} belonged to prefixes shared between rows"
    held = run.manifest.most_tokens if run.manifest else None
    facts = (
        Fact(
            "tokens a second",
            f"{metrics.tokens / metrics.seconds:,.0f}",
            "all tokens of the rows, over the updates' time",
        ),
        Fact("rows a second", number(metrics.rows / metrics.seconds)),
        Fact("tokens", f"{metrics.tokens:,}"),
        Fact("tokens computed", f"{metrics.tokens_computed:,}", shared),
        Fact("seconds an update", number(metrics.seconds / len(metrics.loss)) if len(metrics.loss) else ""),
        Fact("most tokens in one pass", _count(held), "what memory held; less than the run file asks for"),
    )
    return tuple(fact for fact in facts if fact.value)


def cost_facts(run: RunFiles) -> tuple[Fact, ...]:
    """What was foreseen beside what it took; nothing of runs from before there was a planner."""
    manifest = run.manifest
    if manifest is None or manifest.expected is None or manifest.actual is None:
        return ()
    expected, actual = manifest.expected, manifest.actual
    off = f"{expected.peak_bytes / actual.peak_bytes - 1:+.0%}" if actual.peak_bytes else ""
    facts = [Fact("peak memory", size(round(actual.peak_bytes)), f"foreseen {size(round(expected.peak_bytes))}, {off}")]
    if actual.seconds is not None:
        foreseen = "not foreseen: the speed of this machine was not known yet"
        if expected.seconds is not None:
            foreseen = f"foreseen {duration(expected.seconds)}"
        facts.append(Fact("training", duration(actual.seconds), foreseen))
        facts += _price(manifest.price_per_hour, expected.seconds, actual.seconds)
    return tuple(facts)


def _price(an_hour: float | None, expected: float | None, actual: float) -> list[Fact]:
    if an_hour is None:
        return []
    foreseen = "" if expected is None else f"foreseen {expected / 3600 * an_hour:,.2f}; "
    return [Fact("cost", f"{actual / 3600 * an_hour:,.2f}", f"{foreseen}{an_hour:g} an hour")]


def environment(run: RunFiles) -> tuple[Fact, ...]:
    """Versions and hashes: what must be equal for the numbers to be equal."""
    manifest = run.manifest
    if manifest is None:
        return ()
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return (
        Fact("run", manifest.run_id, f"grown from {manifest.parent}" if manifest.parent else ""),
        Fact("begun", manifest.created),
        Fact("Etude", manifest.etude_version, versions),
        Fact("base model", manifest.base.name, manifest.base.hash),
        Fact("data", manifest.data.source, manifest.data.sha256),
        Fact("chat template", "sha256", manifest.template_sha256),
        Fact("run file", "sha256", manifest.config_sha256),
        Fact("seed", str(manifest.seed)),
    )


def files(run: RunFiles) -> tuple[Fact, ...]:
    """The run's files with size and sha256, as the manifest recorded them."""
    entries = run.manifest.files if run.manifest else {}
    return tuple(
        Fact(name, size(entry.bytes), entry.sha256)
        for name, entry in entries.items()
        if not name.startswith(NOT_LISTED)
    )


def reproduce(run: RunFiles) -> str | None:
    """The command line that made the run, quoted for a shell."""
    return shlex.join(run.manifest.command) if run.manifest and run.manifest.command else None


def place(run: RunFiles) -> str:
    """How the user calls the run: the output that the run file names, else the folder's name."""
    output = run.setting("output")
    return output if isinstance(output, str) and output else run.folder.name


def next_commands(run: RunFiles) -> tuple[Command, ...]:
    """What one would do now."""
    here = shlex.quote(place(run))
    again = reproduce(run)
    if run.state in ("interrupted", "died", "failed") and again:
        resume = again if "--resume" in again.split() else f"{again} --resume"
        return (
            Command(resume, "go on from the last checkpoint"),
            Command(f"etude runs show {here}", "what is there so far"),
        )
    return (
        Command(f"etude chat {here}", "talk to the tuned model"),
        Command(f"etude runs show {here}", "what went in and came out, and whether its files are intact"),
        Command(f"etude runs diff {here} OTHER", "what another run did differently, and what it changed"),
    )
