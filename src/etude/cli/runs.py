"""List, show and compare runs. Without a subcommand: the runs in a folder, newest first."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from etude.errors import RunError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from etude.runs.diff import Line, RunDiff
    from etude.runs.store import RunRow, ScoreRow, Store
    from etude.runs.summary import RunSummary, TaskScore

DEFAULT_FOLDER = "runs"
LIST_COLUMNS = {
    "run": 0, "status": 0, "base": 110, "technique": 84, "held-out": 72, "score": 0, "verdict": 0, "age": 72,
}  # fmt: skip
"""Columns of the list, and the least width of the terminal at which each is shown."""
STATE_STYLES = {"finished": "green", "running": "cyan", "interrupted": "yellow", "died": "yellow"}
ANSWER_STYLES = {"better": "green", "worse": "red"}


def add_arguments(parser: ArgumentParser) -> None:
    """The folder to list, and the subcommands show, diff and scan."""
    parser.add_argument("--folder", default=DEFAULT_FOLDER, help="where the runs are (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="every indexed run, wherever it is")
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(title="subcommands", metavar="show | diff | scan")
    show = actions.add_parser("show", help="one run: what went in, what came out, whether its files are intact")
    show.add_argument("run", help="the run's folder, its name in --folder, or the start of its id")
    show.add_argument("--no-verify", dest="verify", action="store_false", help="do not read the files to check them")
    show.set_defaults(action=_show)
    diff = actions.add_parser("diff", help="two runs side by side: what was set differently, and what it did")
    diff.add_argument("left", metavar="A")
    diff.add_argument("right", metavar="B")
    diff.add_argument("--full", action="store_true", help="also what is the same in both")
    diff.set_defaults(action=_diff)
    scan = actions.add_parser("scan", help="rebuild the index from the runs in a folder")
    scan.add_argument("scanned", metavar="FOLDER")
    scan.set_defaults(action=_scan)


def run(arguments: Namespace) -> int:
    """Open the index, do what was asked, close it."""
    from etude.runs.store import Store

    store = Store.open()
    try:
        if store.note:
            _print(_dim(store.note))
        code: int = arguments.action(arguments, store)
        return code
    finally:
        store.close()


def _list(arguments: Namespace, store: Store) -> int:
    folder = None if arguments.all else Path(arguments.folder)
    if folder is None:
        store.refresh()
    else:
        store.scan(folder)
    rows = store.runs(folder)
    if not rows:
        place = "in the index" if folder is None else f"in {folder}"
        _print(f"no runs {place}; etude quickstart makes one, etude runs --all lists those elsewhere")
        return 0
    _print(_list_table(rows, with_paths=arguments.all))
    return 0


def _show(arguments: Namespace, store: Store) -> int:
    from etude.runs.summary import summarize

    path = _resolve(arguments.run, arguments, store)
    summary = summarize(path)
    _print(_facts_table(summary))
    if summary.scores:
        _print(_scores_table(summary.scores))
    if summary.trouble:
        raise RunError(summary.trouble)
    return _verified(summary) if arguments.verify else 0


def _diff(arguments: Namespace, store: Store) -> int:
    from etude.runs.diff import diff

    left, right = (_resolve(name, arguments, store) for name in (arguments.left, arguments.right))
    found = diff(left, right)
    lines = found.lines if arguments.full else found.differing
    if lines:
        _print(_diff_table(found, lines))
    same = len(found.lines) - len(found.differing)
    hint = "" if arguments.full or not same else "; --full shows them"
    _print(_dim(f"{same} of {len(found.lines)} facts are the same in both{hint}"))
    return 0


def _scan(arguments: Namespace, store: Store) -> int:
    folder = Path(arguments.scanned)
    if not folder.is_dir():
        raise RunError("no such folder", where=str(folder))
    found = store.scan(folder)
    _print(f"{len(found)} run{'' if len(found) == 1 else 's'} in {folder}")
    for summary in found:
        if summary.trouble:
            _print(f"  {summary.trouble}")
    return 0


def _resolve(name: str, arguments: Namespace, store: Store) -> Path:
    """A run by its folder, by its name in --folder, or by the start of its id."""
    from etude.runs.directory import is_run, open_run

    for path in (Path(name), Path(arguments.folder) / name):
        if is_run(path):
            return path
    store.scan(Path(arguments.folder))
    matches = [Path(row.path) for row in store.find(name) if is_run(Path(row.path))] if len(name) >= 4 else []
    if len(matches) > 1:
        raise RunError(
            f"{name!r} is the id of {len(matches)} runs", remedy=f"say which: {', '.join(map(str, matches))}"
        )
    if matches:
        return matches[0]
    return open_run(Path(name) if "/" in name or Path(name).exists() else Path(arguments.folder) / name).path


def _verified(summary: RunSummary) -> int:
    """Compare the files with the manifest's hashes; 1 when something is not as it was recorded."""
    manifest = summary.manifest
    if manifest is None or not manifest.files:
        return 0
    found = manifest.verify(summary.path)
    if not found:
        _print(_dim(f"all {len(manifest.files)} recorded files are intact"))
        return 0
    _print("changed since the run finished:")
    for line in found:
        _print(f"  {line}")
    return 1


def _list_table(rows: list[RunRow], *, with_paths: bool) -> Table:
    from rich.text import Text

    from etude.cli.terminal import cell, console

    columns = [name for name, least in LIST_COLUMNS.items() if console.width >= least]
    table = _table(*columns, right=("held-out", "age"), whole=("status", "score", "age"))
    for row in rows:
        cells: dict[str, RenderableType] = {
            "run": cell(_place(row.path) if with_paths else row.name),
            "status": _state(row.state),
            "base": _dim(_short(row.base or "")),
            "technique": cell(row.technique),
            "held-out": "" if row.heldout_loss is None else f"{row.heldout_loss:.3f}",
            "score": cell("\n".join(_scored(score, named=len(row.scores) > 1) for score in row.scores)),
            "verdict": Text("\n\n").join(_answer(score.answer) for score in row.scores),
            "age": _dim(_age(row.created)),
        }
        table.add_row(*(cells[name] for name in columns))
    return table


def _facts_table(summary: RunSummary) -> Table:
    from rich.table import Table

    from etude.cli.terminal import cell

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(summary).items():
        table.add_row(name, cell(value) if isinstance(value, str) else value)
    return table


def _facts(summary: RunSummary) -> dict[str, RenderableType]:
    import shlex

    facts: dict[str, RenderableType] = {"run": str(summary.path), "status": _state(summary.state)}
    manifest = summary.manifest
    if manifest is not None:
        seconds = sum(manifest.timings.values())
        phases = ", ".join(f"{phase} {value:.0f} s" for phase, value in manifest.timings.items())
        facts |= {
            "id": manifest.run_id,
            "created": f"{manifest.created} ({_age(manifest.created)} ago)",
            "base": f"{manifest.base.name}  {manifest.base.hash[:12]}",
            "data": f"{manifest.data.source}  {manifest.data.sha256[:12]}",
            "technique": summary.technique,
            "seed": str(manifest.seed),
            "parent": manifest.parent or "",
            "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
            "time": f"{seconds:.0f} s ({phases})" if phases else "",
            "command": shlex.join(manifest.command),
        }
    losses = {"training loss": summary.train_loss, "held-out loss": summary.heldout_loss, "gap": summary.gap}
    facts |= {name: f"{value:.4f} nats per learned token" for name, value in losses.items() if value is not None}
    facts["updates"] = str(summary.steps)
    page = summary.path / "report.html"
    facts["report"] = str(page) if page.is_file() else ""
    return {name: value for name, value in facts.items() if value}


def _scores_table(scores: tuple[TaskScore, ...]) -> Table:
    from etude.cli.terminal import cell

    table = _table("task", "metric", "n", "base", "tuned", "difference, 95 %", "verdict", right=("n", "base", "tuned"))
    for score in scores:
        interval = f"{_signed(score, score.difference)} [{_signed(score, score.low)}, {_signed(score, score.high)}]"
        base, tuned = _amount(score, score.base), _amount(score, score.tuned)
        cells = (score.task, score.metric, str(score.n), base, tuned, interval)
        table.add_row(*map(cell, cells), _answer(score.answer))
    return table


def _diff_table(found: RunDiff, lines: tuple[Line, ...]) -> Table:
    from etude.cli.terminal import cell

    table = _table("", _unlike(found.left, found.right), _unlike(found.right, found.left))
    section = None
    for line in lines:
        if line.section != section:
            section = line.section
            table.add_row(cell(section, "bold"), "", "")
        style = "dim" if line.same else ""
        sides = (cell("–" if side is None else side, style) for side in (line.left, line.right))
        table.add_row(cell(f"  {line.name}", style), *sides)
    return table


def _table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from etude.cli.terminal import cell

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(cell(name), justify=justify, overflow="fold", no_wrap=name in whole)
    return table


def _scored(score: ScoreRow, *, named: bool) -> str:
    """`3.1 % → 91.5 %`, and below it the interval of the difference."""
    name = f"{score.task} " if named else ""
    ends = f"{_amount(score, score.base)} → {_amount(score, score.tuned)}"
    return f"{name}{ends}\n[{_signed(score, score.low)}, {_signed(score, score.high)}]"


def _amount(score: ScoreRow | TaskScore, value: float) -> str:
    """A share in percent; a perplexity as it is."""
    plain = score.metric == "perplexity" or score.metric == "reward"
    return f"{value:.2f}" if plain else f"{100 * value:.1f} %"


def _signed(score: ScoreRow | TaskScore, value: float) -> str:
    return f"{value:+.2f}" if score.metric == "perplexity" else f"{100 * value:+.1f}"


def _state(state: str) -> RenderableType:
    from etude.cli.terminal import cell

    return cell(state, STATE_STYLES.get(state, "red"))


def _answer(answer: str) -> Text:
    from etude.cli.terminal import cell

    return cell(answer, ANSWER_STYLES.get(answer, "dim"))


def _unlike(summary: RunSummary, other: RunSummary) -> str:
    """The run's name, with its folder where both runs have the same name."""
    return summary.name if summary.name != other.name else str(summary.path)


def _place(path: str) -> str:
    """A path as short as it is clear: from here, or from home."""
    here, home = Path.cwd(), Path.home()
    if Path(path).is_relative_to(here):
        return str(Path(path).relative_to(here))
    return f"~/{Path(path).relative_to(home)}" if Path(path).is_relative_to(home) else path


def _short(base: str) -> str:
    return base.rstrip("/").rpartition("/")[2]


def _age(created: str | None) -> str:
    """How long ago: `35 s`, `12 min`, `5 h`, `3 d`."""
    if not created:
        return ""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _dim(text: str) -> RenderableType:
    from etude.cli.terminal import cell

    return cell(text, "dim")


def _print(what: RenderableType) -> None:
    from etude.cli.terminal import cell, console

    console.print(cell(what) if isinstance(what, str) else what)
