"""The known settings, and the one nearest to a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches

from etude.comparison.gates import Gate
from etude.config.kinds import DEFAULT_KINDS, TABLES, kind_class
from etude.data.options import DataOptions
from etude.evaluation.options import EvaluationOptions
from etude.exporting.targets import Target
from etude.models.options import ModelOptions
from etude.planning.options import PlanningOptions
from etude.sampling.rollout_options import RolloutOptions
from etude.training.options import TrainOptions
from etude.training.outward import LoggingOptions
from etude.yaml_text import Plain

PLAIN: Mapping[str, Plain] = {"target": "any", "output": "", "gates": []}
"""Keys that hold one value or a list, and what is taken for them where they are left out."""


@dataclass(frozen=True, slots=True)
class Section:
    """A top-level key of the run file; its type is `object` where `kind` picks the dataclass."""

    type: type
    required: bool = False
    says: str = ""


SECTIONS: Mapping[str, Section] = {
    "model": Section(
        ModelOptions, required=True, says="which base model to start from, as in 'model: smollm2-135m-instruct'"
    ),
    "data": Section(DataOptions, required=True, says="where the examples are, as in 'data: {train: rows.jsonl}'"),
    "technique": Section(object),
    "objective": Section(object),
    "rollouts": Section(RolloutOptions),
    "training": Section(TrainOptions),
    "evaluation": Section(EvaluationOptions),
    "logging": Section(LoggingOptions),
    "planning": Section(PlanningOptions),
    "gates": Section(tuple[Gate, ...]),
    "target": Section(Target),  # type: ignore[arg-type]  # a choice of words
    "output": Section(str),
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a typing mistake would turn into `name`."""
    found = get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def settings(chosen: type) -> list[str]:
    """Names of a section's settings, given its dataclass."""
    return [item.name for item in fields(chosen)] if is_dataclass(chosen) else []


def hint(name: str, siblings: Iterable[str]) -> str:
    """What an unknown setting was probably meant to be: a sibling, or a setting of another section."""
    siblings = list(siblings)
    near = nearest(name, siblings)
    if near:
        return f"; did you mean {near!r}?"
    elsewhere = {setting: f"{section}.{setting}" for section, chosen in _classes() for setting in settings(chosen)}
    near = nearest(name, elsewhere)
    if near:
        return f"; did you mean {elsewhere[near]!r}?"
    return f"; known here: {', '.join(siblings)}" if siblings else ""


def _classes() -> Iterable[tuple[str, type]]:
    for section, known in SECTIONS.items():
        if section not in TABLES:
            yield section, known.type
        else:
            chosen = kind_class(section, DEFAULT_KINDS[section])
            assert chosen is not None
            yield section, chosen
