"""A model card written from the run: what the model is, what it was measured on, how sure that is, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from etude.exporting.parity import Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells; nothing in it is guessed."""

    name: str
    base: str
    base_hash: str
    license: str | None
    """The base model's, where its files name one."""
    technique: Mapping[str, Any]
    objective: str
    data_source: str
    data_sha256: str
    data_rows: int | None
    verdicts: Sequence[Mapping[str, Any]] = ()
    """As in a run's verdict.json."""
    timings: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    parity: Sequence[Parity] = ()
    gap: Mapping[str, Any] | None = None


def model_card(facts: CardFacts, *, library: str) -> str:
    """Markdown with the metadata block that model hubs read."""
    front = {
        "base_model": facts.base,
        "library_name": library,
        "license": facts.license or "other",
        "tags": ["etude", "fine-tuned", str(facts.technique.get("kind", "")), facts.objective],
    }
    technique = ", ".join(f"{key} {_shown(value)}" for key, value in facts.technique.items() if key != "kind")
    rows = f", {facts.data_rows:,} rows" if facts.data_rows else ""
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {facts.name}",
        f"{facts.base}, fine-tuned with {facts.technique.get('kind')} ({technique}) on `{facts.data_source}`{rows}.",
        "## Measured",
        *_measured(facts),
        "## Intended use",
        "The task that its training rows show. What it was not measured on, it may do worse than its base.",
        "## Limits",
        *_limits(facts),
        "## Made of",
        f"- base: {facts.base} (sha256 of config and weights {facts.base_hash})",
        f"- data: {facts.data_source} (sha256 {facts.data_sha256})",
        f"- objective {facts.objective}, seed {facts.seed}",
        f"- {', '.join(f'{name} {version}' for name, version in facts.versions.items())}",
        "## Cost",
        f"Training took {facts.timings.get('train', 0.0):,.0f} s, the whole run {sum(facts.timings.values()):,.0f} s. "
        "Energy was not metered.",
    ]
    if facts.parity:
        lines += ["## Parity of this export", *(f"- {one.sentence()}" for one in facts.parity)]
    return "\n\n".join(lines).replace("\n\n- ", "\n- ") + "\n"


def _measured(facts: CardFacts) -> list[str]:
    if not facts.verdicts:
        return ["Nothing was compared with the base: the run had no tasks, or did not measure the base on them."]
    lines = ["| task | metric | base | tuned | difference, 95 % interval | verdict |", "|---|---|---|---|---|---|"]
    for one in facts.verdicts:
        low, high = one["low"], one["high"]
        lines.append(
            f"| {one['task']} | {one['metric']} | {one['base']:.4g} | {one['tuned']:.4g} | {low:+.4g} to {high:+.4g} "
            f"| {one['answer']} |"
        )
    return ["\n".join(lines)]


def _limits(facts: CardFacts) -> list[str]:
    found = ["- Answers outside the task were not measured by this run.", "- It inherits what its base model lacks."]
    if facts.gap and facts.gap.get("overfits"):
        found.append("- The loss on rows it did not learn is clearly higher than on those it did.")
    return found


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
