"""What a model should still know after training: small tasks that ship with Etude, written for it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
SUITE = ("choices", "text", "instructions", "refusals")
"""Common knowledge by likelihood, plain text, verifiable instructions, and what to refuse and what not."""


def probe_file(name: str) -> Path:
    """The task file of a probe of the suite; any other name is a path already."""
    return FOLDER / f"{name}.task.yaml" if name in SUITE else Path(name)
