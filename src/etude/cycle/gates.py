"""A run's verdicts and gates: judged when it has been measured, the gates again whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from etude.batch import Sample
from etude.comparison.gates import Facts, Gate, GateResult, judge_gates
from etude.comparison.pairing import Side
from etude.comparison.verdict import Verdict, compare_all
from etude.config import RunFile, load_run_file
from etude.errors import ConfigError, RunError
from etude.evaluation.report import Report
from etude.runs.directory import RunDirectory

RETENTION = "retention."
"""Before the name of a probe, where a gate names it."""


def own_tasks(run_file: RunFile, pairs: Sequence[Sample], probes: Iterable[str] = ()) -> list[str]:
    """What a run measures without being asked, so that gates may name it: held-out `pairs`, its reward, retention."""
    from etude.cycle.heldout_pairs import HELDOUT_PAIRS  # not where reports alone are judged
    from etude.cycle.online import REWARD

    return [
        *([HELDOUT_PAIRS] if pairs else []),
        *([REWARD] if run_file.objective.online else []),
        *(f"{RETENTION}{name}" for name in probes),
    ]


def gates_of(path: str) -> tuple[Gate, ...]:
    """The gates of a run file, or of the one in a run's folder.

    Raises:
        ConfigError: it has none.
    """
    file = Path(path, "run.yaml") if Path(path).is_dir() else Path(path)
    gates = load_run_file(file, check_files=False).gates
    if not gates:
        raise ConfigError(
            "has no gates", where=str(file), remedy="as in gates: [{task: tickets, better_by: 0}]",
        )  # fmt: skip
    return gates


def compared(
    run_file: RunFile,
    run: RunDirectory,
    before: Mapping[str, Report],
    after: Mapping[str, Report],
    probes: Mapping[str, tuple[Report, Report]],
    *,
    training_seconds: float,
) -> tuple[tuple[Verdict, ...], tuple[GateResult, ...]]:
    """Verdicts on what was measured twice, and how the run's gates went; `probes` are retention's (tuned, base)."""
    verdicts = compare_all([(after[name], before[name]) for name in after if name in before]) if before else ()
    facts = Facts(weights_bytes(run), training_seconds, run_file.planning.price_per_hour)
    sides: dict[str, tuple[Side, Side | None]] = {name: (report, before.get(name)) for name, report in after.items()}
    sides |= {f"{RETENTION}{name}": sides_of for name, sides_of in probes.items()}
    return verdicts, judge_gates(run_file.gates, sides, facts)


def judged_again(
    gates: Sequence[Gate], pairs: Sequence[tuple[Side, Side]], names: Sequence[str], run: RunDirectory | None
) -> tuple[GateResult, ...]:
    """The gates on reports that are there already; `run` is the folder that the tuned side came from, if it is one.

    Retention is that run's own: its model after training against its base.
    """
    sides: dict[str, tuple[Side, Side | None]] = dict(zip(names, pairs, strict=True))
    if run is not None:
        for path in sorted(run.report("any", retention=True).parent.glob("*.base.jsonl")):
            name = path.name.removesuffix(".base.jsonl")
            tuned = run.report(name, retention=True)
            if tuned.exists():
                sides[f"{RETENTION}{name}"] = (Report.load(tuned), Report.load(path))
    return judge_gates(gates, sides, Facts() if run is None else facts_of(run))


def facts_of(run: RunDirectory) -> Facts:
    """What a run wrote down about itself."""
    try:
        manifest = run.manifest()
    except RunError:
        return Facts(weights_bytes(run))
    seconds = manifest.actual.seconds if manifest.actual else None
    return Facts(weights_bytes(run), seconds, manifest.price_per_hour)


def weights_bytes(run: RunDirectory) -> int | None:
    """Size of the weights that the run wrote: the adapter's, or the whole model's."""
    folder = run.weights
    return None if folder is None else sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
