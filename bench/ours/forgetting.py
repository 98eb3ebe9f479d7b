"""What a model still knows beside its task: the suite that every run measures, two of its probes as figures."""

from __future__ import annotations

from etude.evaluation.harness import evaluate
from etude.evaluation.retention import probe_file
from etude.models.loaded import Subject

PROBES = ("choices", "text")


def probes(subject: Subject) -> dict[str, float]:
    """`choices`: the share of questions whose right choice is the likeliest by the character; `text`: nats a token."""
    return {name: evaluate(subject, probe_file(name)).score for name in PROBES}
