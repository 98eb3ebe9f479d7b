"""Whether runs were trained from the same settings and data, and from different seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etude.errors import Problems
from etude.runs.diff import flatten
from etude.runs.directory import is_run
from etude.runs.summary import RunSummary, summarize

SEED = "training.seed"
BESIDE = ("output", "target", "evaluation.", "logging.", "planning.", "gates")
"""Settings that the weights do not depend on."""
SHOWN = 8
MISSING = "not there"


def refuse_unlike(names: Sequence[str]) -> tuple[str, ...]:
    """Lets runs stand for one another only if nothing but the seed was different; gives the names that are no runs.

    A report's file does not say how its model was trained, so nobody can check it.

    Raises:
        Problems: settings, data, base model or template that differ, and seeds that do not.
    """
    unknown = tuple(name for name in names if not is_run(Path(name)))
    names = [name for name in names if name not in unknown]
    runs = [summarize(Path(name)) for name in names]
    facts = [_facts(run) for run in runs]
    if not runs:
        return unknown
    problems = [
        f"{name}: {setting} is {own.get(setting, MISSING)}, in {names[0]} it is {facts[0].get(setting, MISSING)}"
        for name, own in zip(names[1:], facts[1:], strict=True)
        for setting in sorted({**facts[0], **own})
        if own.get(setting) != facts[0].get(setting)
    ]
    seeds: dict[str, str] = {}
    for name, run in zip(names, runs, strict=True):
        seed = flatten(run.settings).get(SEED, "0")
        if (other := seeds.setdefault(seed, name)) != name or names.count(name) > 1:
            problems.append(f"{name}: its seed is {seed}, as that of {other} is")
    if problems:
        more = [f"… and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise Problems("these runs are not the same settings with other seeds", [*problems[:SHOWN], *more])
    return unknown


def _facts(run: RunSummary) -> dict[str, str]:
    """All that the weights depend on but the seed."""
    settings = {
        name: value for name, value in flatten(run.settings).items() if name != SEED and not name.startswith(BESIDE)
    }
    if run.manifest is None:
        return settings
    held = run.manifest
    return {
        **settings,
        "base model": held.base.hash[:12],
        "data": held.data.sha256[:12],
        "template": held.template_sha256[:12],
    }
