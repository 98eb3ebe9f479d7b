"""From a `kind:` in a run file to the dataclass that it names, without importing the others."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from etude.data import STEPS
from etude.objectives import OBJECTIVES
from etude.techniques import TECHNIQUES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

TABLES: Mapping[str, Mapping[str, str]] = {"technique": TECHNIQUES, "objective": OBJECTIVES, "data.steps": STEPS}
"""By setting; `data.steps` is a list, of which each item has a kind."""
ENTRY_POINTS = {"technique": "etude.techniques", "objective": "etude.objectives", "data.steps": "etude.data.steps"}
DEFAULT_KINDS = {"technique": "lora", "objective": "sft"}


def kinds(section: str) -> tuple[str, ...]:
    """The names that `kind` may take, other packages' included."""
    return (*TABLES[section], *sorted(_installed(section).keys() - TABLES[section].keys()))


def kind_class(section: str, kind: str) -> type | None:
    """The dataclass of that kind; None when there is no such kind."""
    if kind in TABLES[section]:
        module, _, name = TABLES[section][kind].partition(":")
        found: type = getattr(import_module(module), name)
        return found
    entry = _installed(section).get(kind)
    return entry.load() if entry else None


def _installed(section: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS[section])}
