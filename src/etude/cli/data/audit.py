"""Everything that may be wrong with rows before they are learned from: a summary, and one page with pictures."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.cli.terminal import say
from etude.errors import EtudeError

if TYPE_CHECKING:
    from etude.data.audit.audit import Audit
    from etude.data.audit.finding import Finding
    from etude.data.audit.toxicity import Classify
    from etude.data.audit.vectors import Embed
    from etude.data.inputs import Inputs
    from etude.data.render import Renderer

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
SHOWN = 3
NO_MODEL = "none"
PAGE_MARK = "Etude data audit"
JSON_MARK = "etude_audit"
ANSWERED = ("completion", "output", "instances", "chosen", "rejected", "margin", "judgement")
"""Fields that hold answers."""


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data audit FILE…`."""
    from etude.cli.data.files import add_inputs, add_settings
    from etude.data.audit.options import AuditOptions

    add_inputs(parser)
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", metavar="NAME",
        help="whose tokens lengths are counted in (smollm2-135m-instruct); none: do without",
    )  # fmt: skip
    parser.add_argument("--production", nargs="+", metavar="FILE", help="inputs as users write them, to compare with")
    parser.add_argument(
        "--embedder", metavar="PATH", help="folder of an embedding model; without one, words are weighed"
    )
    parser.add_argument("--classifier", metavar="PATH", help="folder of a model that says whether a text is toxic")
    parser.add_argument("--page", metavar="OUT", help="where the page goes (NAME.audit.html in this folder)")
    parser.add_argument(
        "--json", metavar="OUT", help="where all findings go as JSON (NAME.audit.json in this folder; -: print them)"
    )
    parser.add_argument(
        "--fail-on", choices=("error", "warning"), help="end with exit code 1 on such findings or worse"
    )
    parser.add_argument("--force", action="store_true", help="replace a page or a JSON file that is not an audit's")
    add_settings(parser, AuditOptions)


def run(arguments: Namespace) -> int:
    """Look, write the page, tell."""
    from etude.cli.data.files import settings_of
    from etude.data.audit.audit import audit
    from etude.data.audit.options import AuditOptions
    from etude.data.audit.remedies import beside
    from etude.pages.audit import write_audit

    options = settings_of(arguments, AuditOptions)
    page = Path(arguments.page or beside(arguments.files[0], "audit.html"))
    printed = arguments.json == "-"
    report = Path(arguments.json if arguments.json and not printed else beside(arguments.files[0], "audit.json"))
    for path, mark in ((page, PAGE_MARK), (report, JSON_MARK)):
        if not arguments.force:
            _refuse_to_replace(path, mark)
    found = audit(
        _opened(arguments.files, arguments, _columns(arguments)),
        options,
        renderer=None if arguments.model == NO_MODEL else _renderer(arguments.model),
        model=arguments.model,
        embed=embedder(arguments.embedder),
        classify=_classifier(arguments.classifier),
        production=_production(arguments),
        reading=_reading(arguments),
        report=str(report),
    )
    write_audit(found, page)
    if printed:
        print(as_text(found), end="")
    else:
        durable.write_text(report, as_text(found))
        tell(found, page)
    return 1 if arguments.fail_on and found.fails(arguments.fail_on) else 0


def as_text(found: Audit) -> str:
    """All of it as JSON, a finding a line apart."""
    return json.dumps({JSON_MARK: 1, **found.as_json()}, ensure_ascii=False, indent=1) + "\n"


def _refuse_to_replace(path: Path, mark: str) -> None:
    """An earlier audit may be replaced, anything else may not."""
    if path.exists() and not (path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")[:4096]):
        raise EtudeError("is there already, and no audit", where=str(path), remedy="name another file, or give --force")


def _columns(arguments: Namespace) -> dict[str, str]:
    from etude.cli.data.files import parse_columns

    return parse_columns(arguments.columns)


def _opened(files: Sequence[str], arguments: Namespace, columns: Mapping[str, str]) -> Inputs:
    from etude.cli.terminal import progress
    from etude.data.inputs import Reading, open_inputs

    return open_inputs(files, Reading(format=arguments.format, columns=columns), progress=progress)


def _production(arguments: Namespace) -> Inputs | None:
    """Production rows have no answers, so only what feeds the input is asked of their columns."""
    if not arguments.production:
        return None
    asked = {field: column for field, column in _columns(arguments).items() if field not in ANSWERED}
    return _opened(arguments.production, arguments, asked)


def _reading(arguments: Namespace) -> list[str]:
    """The flags with which the rows were read, for the commands that are recommended."""
    said = ["--columns", *arguments.columns] if arguments.columns else []
    return [*said, *(["--format", arguments.format] if arguments.format != "auto" else [])]


def _renderer(model: str) -> Renderer:
    from etude.cli.terminal import quiet_libraries
    from etude.data.render import Renderer
    from etude.models.load import load_tokenizer

    quiet_libraries()
    return Renderer(load_tokenizer(model))


def embedder(path: str | None) -> Embed | None:
    """What turns texts into vectors, by the folder of an embedding model; None without one."""
    if path is None:
        return None
    from etude.cli.terminal import progress, quiet_libraries
    from etude.cycle.writing import embedder

    quiet_libraries()
    return embedder(path, progress)


def _classifier(path: str | None) -> Classify | None:
    if path is None:
        return None
    from etude.cli.terminal import quiet_libraries
    from etude.models.classifying import load_classifier

    quiet_libraries()
    return load_classifier(path)


def tell(found: Audit, page: Path) -> None:
    """What a person should know at once; the rest is on the page."""
    from etude.data.audit.finding import SEVERITIES

    for file, layout in zip(found.files, found.detected, strict=True):
        say(f"{file}: {layout}")
    say(_counts(found), "bold")
    for finding in found.findings:
        _tell_one(finding)
    if not found.findings:
        say("\nnothing was found", "green")
    for note in found.notes:
        say(f"note: {note}", "dim")
    numbers = {severity: found.count(severity) for severity in SEVERITIES}
    counts = ", ".join(f"{number} {severity}{'' if number == 1 else 's'}" for severity, number in numbers.items())
    say(f"\n{counts}; page: {page}", "bold")


def _counts(found: Audit) -> str:
    parts = [f"{found.rows:,} rows"]
    if found.unusable:
        parts.append(f"{found.unusable:,} unusable")
    if found.lengths is not None:
        middle, longest = found.lengths.total.quantiles[3], found.lengths.total.quantiles[-1]
        parts.append(f"{found.lengths.num_tokens:,} tokens (median row {middle:,}, longest {longest:,})")
    parts += [f"{len(table.counts):,} labels of {table.name!r}" for table in found.labels[:3]]
    if found.coverage is not None:
        parts.append(f"{len(found.coverage.topics)} topics")
    return ", ".join(parts)


def _tell_one(finding: Finding) -> None:
    say("")
    say(f"{finding.severity:<8}{finding.title}  [{finding.check}]", STYLES[finding.severity])
    for place in finding.places[:SHOWN]:
        say(f"        {place.origin}  {place.shown[:100]}")
    if finding.rows > SHOWN and finding.places:
        say(f"        … and {finding.rows - min(SHOWN, len(finding.places)):,} more")
    if finding.command:
        say(f"        mend: {finding.command}")
