"""What a task file's `metric` may name, one kind a file. A new one: its file, and a line here."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.evaluation.metrics.base import Kind

METRICS: dict[str, str] = {
    "exact_match": "etude.evaluation.metrics.exact_match:ExactMatch",
    "normalized_match": "etude.evaluation.metrics.normalized_match:NormalizedMatch",
    "label": "etude.evaluation.metrics.label:Label",
    "json": "etude.evaluation.metrics.json_fields:JsonFields",
    "regex": "etude.evaluation.metrics.regex:Regex",
    "rouge_l": "etude.evaluation.metrics.rouge_l:RougeL",
    "number": "etude.evaluation.metrics.number:Number",
    "spans": "etude.evaluation.metrics.spans:SpanF1",
    "json_schema": "etude.evaluation.metrics.json_schema:JsonSchema",
    "chrf": "etude.evaluation.metrics.chrf:Chrf",
    "bert_score": "etude.evaluation.metrics.bert_score:BertScore",
    "instructions": "etude.evaluation.metrics.instructions:Instructions",
    "grounded": "etude.evaluation.metrics.grounded:Grounded",
    "style": "etude.evaluation.metrics.style:Style",
    "refusal": "etude.evaluation.metrics.refusal:Refusal",
    "code": "etude.evaluation.metrics.code:Code",
    "judge": "etude.evaluation.metrics.judge:Judged",
    "context": "etude.evaluation.metrics.context:ContextUse",
    "choice": "etude.evaluation.metrics.choice:Choice",
    "perplexity": "etude.evaluation.metrics.perplexity:Perplexity",
    "preference": "etude.evaluation.metrics.preference:Preference",
}
PYTHON = "etude.evaluation.metrics.python:Python"
"""The kind of `metric: file.py:function`."""


def metric_class(name: str) -> type[Kind] | None:
    """The dataclass of that kind; None when there is none."""
    place = PYTHON if re.fullmatch(r".+\.py:\w+", name) else METRICS.get(name)
    if place is None:
        return None
    module, _, chosen = place.partition(":")
    found: type[Kind] = getattr(import_module(module), chosen)
    return found


def metric_name(kind: Kind) -> str:
    """What a task file calls it."""
    place = f"{type(kind).__module__}:{type(kind).__qualname__}"
    return next((name for name, one in METRICS.items() if one == place), "python")
