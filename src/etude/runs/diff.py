"""Two runs side by side: what was set, learned from and used differently, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.runs.summary import RunSummary, summarize

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """One fact of two runs; None where a run has none."""

    section: str
    name: str
    left: str | None
    right: str | None

    @property
    def same(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What differs between two runs, and the runs themselves."""

    left: RunSummary
    right: RunSummary
    lines: tuple[Line, ...]

    @property
    def differing(self) -> tuple[Line, ...]:
        """Only what is not the same in both."""
        return tuple(line for line in self.lines if not line.same)


def diff(left: Path, right: Path) -> RunDiff:
    """Settings, inputs, versions and results of two runs; raises RunError where there is no run."""
    one, other = summarize(left), summarize(right)
    lines = []
    for section, of in (("settings", _settings), ("inputs", _inputs), ("versions", _versions), ("results", _results)):
        facts, others = of(one), of(other)
        names = [*facts, *(name for name in others if name not in facts)]
        lines += [Line(section, name, facts.get(name), others.get(name)) for name in names]
    return RunDiff(one, other, tuple(lines))


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `training.epochs` → `2`."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = _shown(value)
    return found


def _settings(run: RunSummary) -> dict[str, str]:
    return {name: value for name, value in flatten(run.settings).items() if name != "output"}


def _inputs(run: RunSummary) -> dict[str, str]:
    if run.manifest is None:
        return {}
    manifest = run.manifest
    return {
        "base": f"{manifest.base.name} ({manifest.base.hash[:12]})",
        "data": f"{manifest.data.source} ({manifest.data.sha256[:12]})",
        "chat template": manifest.template_sha256[:12],
        "seed": str(manifest.seed),
        "parent": manifest.parent or "none",
    }


def _versions(run: RunSummary) -> dict[str, str]:
    if run.manifest is None:
        return {}
    return {"etude": run.manifest.etude_version, **run.manifest.versions}


def _results(run: RunSummary) -> dict[str, str]:
    found = {"state": run.state, "updates": str(run.steps)}
    losses = {"training loss": run.train_loss, "held-out loss": run.heldout_loss, "overfitting gap": run.gap}
    found |= {name: f"{value:.4f}" for name, value in losses.items() if value is not None}
    for score in run.scores:
        metric = f"{score.task} {score.metric}"
        found[f"{metric}, base"] = f"{score.base:.4g}"
        found[f"{metric}, tuned"] = f"{score.tuned:.4g}"
        found[f"{metric}, difference"] = f"{score.difference:+.4g} [{score.low:+.4g}, {score.high:+.4g}]"
        found[f"{score.task} verdict"] = score.answer
    seconds = sum(run.manifest.timings.values()) if run.manifest else 0.0
    return found | ({"seconds": f"{seconds:.0f}"} if seconds else {})


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
