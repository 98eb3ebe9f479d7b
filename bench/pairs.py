"""Etude and the peer by turns, each in a fresh process: medians, and the ratio of each pair with its spread.

Loads nothing heavy: a child's peak of memory begins at what its parent holds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.cases import Case
from bench.measured import Measured

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"
PLOTS = ROOT / "bench" / "plots"
PEERS = {"trl": ("TRL_PYTHON", ".venv-bench"), "llamafactory": ("LLAMAFACTORY_PYTHON", ".venv-llamafactory")}
"""The variable that names a peer's interpreter, and the environment that `make bench-environments` builds for it."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says about every measurement."""

    pairs: int = 3
    steps: int | None = None
    """Updates instead of the case's own number."""
    epochs: float = 2.0
    """Passes over the data, where a case trains to the end."""
    model: str | None = None
    """The model, where a case leaves the choice."""


@dataclass(frozen=True)
class Pair:
    ours: Measured
    peer: Measured


@dataclass(frozen=True)
class Spread:
    """A figure over the pairs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(pairs: Sequence[Pair], figure: Callable[[Measured], float]) -> Spread:
    """How many times the peer's figure ours is: within each pair, so that a slow minute of the machine cancels."""
    return ratios_of([(figure(pair.ours), figure(pair.peer)) for pair in pairs])


def ratios_of(figures: Sequence[tuple[float, float]]) -> Spread:
    """The first over the second of each pair."""
    return spread([one / other for one, other in figures])


def sides(pairs: Sequence[Pair]) -> tuple[list[Measured], list[Measured]]:
    """All runs of ours, all of the peer's."""
    return [pair.ours for pair in pairs], [pair.peer for pair in pairs]


def interpreter(environment: str) -> str:
    """The peer's Python."""
    variable, folder = PEERS[environment]
    found = os.environ.get(variable) or str(ROOT / folder / "bin" / "python")
    if not Path(found).exists():
        raise SystemExit(f"no {found}: `make bench-environments` builds it, or name another by {variable}")
    return found


def child(command: Sequence[str], log: Path, variables: Mapping[str, str], *, seconds: float | None = None) -> Measured:
    """Runs one measuring process to its end, or for so many seconds at most."""
    environment = {**os.environ, **OFFLINE, "OMP_NUM_THREADS": str(os.cpu_count()), **variables}
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=ROOT, timeout=seconds
        )
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8")[-2000:]
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}; {log}:\n{last}")
    return Measured.from_output(done.stdout)


def job_file(case: Case, side: str, rows: Path, settings: Mapping[str, Any]) -> Path:
    path = BUILD / f"{case.name}.{side}.json"
    job = {
        "rows": str(rows),
        "steps": case.steps,
        "technique": case.technique,
        "objective": case.objective,
        "learning_rate": case.learning_rate,
        "settings": dict(settings),
    }
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def rendered(case: Case) -> Path:
    """The file of token rows that both sides are given, made if it is not there."""
    length = f"-{case.length}" if case.length else ""
    rows = BUILD / f"{case.source}{length}-{case.steps}x{case.samples_per_step}.rows.json"
    if not rows.exists() or rows.stat().st_mtime < (ROOT / "bench" / "ours" / "rows.py").stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        job = BUILD / "rows.json"
        wanted = {"source": case.source, "length": case.length, "rows": str(rows)}
        job.write_text(json.dumps({**wanted, "steps": case.steps, "samples_per_step": case.samples_per_step}))
        environment = {**os.environ, **OFFLINE}
        subprocess.run([sys.executable, "-m", "bench.ours.rows", str(job)], check=True, env=environment, cwd=ROOT)
    return rows


def ours(case: Case, name: str = "ours", variables: Mapping[str, str] | None = None) -> Measured:
    """Etude's side of a case, once."""
    job = job_file(case, name, rendered(case), case.ours_settings)
    return child([sys.executable, "-m", case.ours, str(job)], BUILD / f"{case.name}.{name}.log", variables or {})


def peers(case: Case, *, seconds: float | None = None) -> Measured:
    """The peer's side of a case, once."""
    job = job_file(case, "peer", rendered(case), case.settings)
    command = [interpreter(case.environment), "-m", case.peer, str(job)]
    return child(command, BUILD / f"{case.name}.peer.log", case.variables, seconds=seconds)


def measure(case: Case, num_pairs: int) -> list[Pair]:
    """Ours, the peer, ours, the peer …"""
    return [Pair(ours(case), peers(case)) for _ in range(num_pairs)]


def table(case: Case, pairs: Sequence[Pair]) -> str:
    """Both sides and their ratio, in Markdown."""
    lines = [
        "| | examples/s | tokens of data/s | all updates, s | peak RSS GB |",
        "|---|---|---|---|---|",
    ]
    for name, runs in zip(("Etude", case.peer_name), sides(pairs), strict=True):
        rows = spread([run.rows_per_second(case.warm) for run in runs])
        tokens = statistics.median(run.tokens_per_second(case.warm) for run in runs)
        whole = statistics.median(run.whole_seconds() for run in runs)
        peak = statistics.median(run.peak_gigabytes for run in runs)
        lines.append(f"| {name} | {rows} | {tokens:,.0f} | {whole:.1f} | {peak:.2f} |")
    speed = ratios(pairs, lambda run: run.rows_per_second(case.warm))
    whole_ratio = ratios(pairs, lambda run: 1 / run.whole_seconds())
    memory = ratios(pairs, lambda run: run.peak_gigabytes)
    lines.append(f"| ratio | {speed} | | {whole_ratio} | {memory} |")
    return "\n".join([*lines, *agreement(pairs)])


def agreement(pairs: Sequence[Pair]) -> list[str]:
    """How close the two sides' losses, gradients or answers are, in the first pair."""
    ours, peer = pairs[0].ours, pairs[0].peer
    lines: list[str] = []
    for name, one, other in (
        ("loss", ours.losses, peer.losses),
        ("gradient norm", ours.gradient_norms, peer.gradient_norms),
    ):
        if one and other:
            apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
            lines.append(
                f"{name}: first {one[0]:.4f} and {other[0]:.4f}, last {one[-1]:.4f} and {other[-1]:.4f}; "
                f"apart by {statistics.fmean(apart):.4f} on average, {max(apart):.4f} at most"
            )
    if ours.answers:
        same = [a == b for a, b in zip(ours.answers, peer.answers, strict=True)]
        lines.append(f"answers with equal tokens to the end: {sum(same)} of {len(same)}")
    return ["", *lines] if lines else []


def shorter(case: Case, steps: int | None) -> Case:
    """The case with another number of updates, at least one of them steady."""
    return case if steps is None else replace(case, steps=steps, warm=min(case.warm, steps - 1))


def run(case: Case, options: Options) -> list[Pair]:
    """Measures one case, prints its table, and leaves everything under build/bench/ and the curves in bench/plots/."""
    case = shorter(case, options.steps)
    load = os.getloadavg()[0]
    pairs = measure(case, options.pairs)
    results = BUILD / f"{case.name}.json"
    record = {
        "case": asdict(case),
        "machine": {"cores": os.cpu_count(), "processor": processor(), "load_before": load},
        "pairs": [asdict(pair) for pair in pairs],
    }
    results.write_text(json.dumps(record), encoding="utf-8")
    print(f"### {case.name}: {case.says}\n\n{table(case, pairs)}\n", flush=True)
    if pairs[0].ours.losses:
        PLOTS.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "bench.curves", str(results), str(PLOTS)], check=True, cwd=ROOT)
    return pairs


def processor() -> str:
    """The model's name, where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
