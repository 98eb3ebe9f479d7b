"""What kind of mistake an answer is, as far as its metric tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from etude.evaluation.report import ItemResult
from etude.json_values import parse_object

CUT = "cut at the token limit"
EMPTY = "empty answer"
INVALID_JSON = "not valid JSON"
NO_LABEL = "none of the labels"
OTHER_LABEL = "another label"
SAYS_MORE = "holds the reference, and more"
OTHER = "another answer"


def mistakes_of(item: ItemResult, metric: str) -> tuple[str, ...]:
    """The kinds of mistake in an answer that failed, the one that explains most first; never empty.

    `metric` is what the task file calls it.
    """
    found = [CUT] if item.finish == "length" else []
    if item.answer is not None and not item.answer.strip():
        return (*found, EMPTY)
    own = _OF_METRIC.get(metric)
    found += own(item) if own is not None else []
    return tuple(found) or ((OTHER,) if item.answer is not None else (f"low {metric}",))


def confusion_of(item: ItemResult, metric: str) -> str | None:
    """The label that a label task's answer was understood as; None where there is none."""
    label = item.details.get("label") if metric == "label" else None
    return label if isinstance(label, str) else None


def _label(item: ItemResult) -> list[str]:
    return [NO_LABEL if item.details.get("label") is None else OTHER_LABEL]


def _json(item: ItemResult) -> list[str]:
    if not item.scores.get("valid_json"):
        inside = parse_object(_between_braces(item.answer or ""))
        return [INVALID_JSON if inside is None else f"{INVALID_JSON}: words around the object"]
    return [f"field {name} {fate}" for name, fate in _table(item, "fields").items() if fate != "right"]


def _between_braces(text: str) -> str:
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else ""


def _schema(item: ItemResult) -> list[str]:
    return ["breaks the schema" if item.scores.get("valid_json") else INVALID_JSON]


def _spans(item: ItemResult) -> list[str]:
    if not item.scores.get("valid_json"):
        return [INVALID_JSON]
    found = []
    for kind, (right, wanted, given) in _table(item, "spans").items():
        found += [f"{kind} missed"] if right < wanted else []
        found += [f"{kind} invented"] if right < given else []
    return found


def _number(item: ItemResult) -> list[str]:
    return ["no number" if item.details.get("found") is None else "another number"]


def _regex(item: ItemResult) -> list[str]:
    return ["pattern not found" if item.details.get("found") is None else "another value"]


def _refusal(item: ItemResult) -> list[str]:
    return ["refuses a fair request" if item.scores.get("refused") else "answers what it should refuse"]


def _style(item: ItemResult) -> list[str]:
    return [f"breaks the rule {rule}" for rule in item.details.get("broken", ())]


def _grounded(item: ItemResult) -> list[str]:
    kinds = {"unsupported": "says what the context does not", "on_distractors": "rests on a distractor alone"}
    return [says for name, says in kinds.items() if item.details.get(name)]


def _text(item: ItemResult) -> list[str]:
    reference, answer = (item.reference or "").strip().casefold(), (item.answer or "").casefold()
    return [SAYS_MORE if reference and reference in answer else OTHER]


def _table(item: ItemResult, name: str) -> Mapping[str, Any]:
    found = item.details.get(name)
    return found if isinstance(found, Mapping) else {}


_OF_METRIC: Mapping[str, Callable[[ItemResult], list[str]]] = {
    "label": _label,
    "json": _json,
    "json_schema": _schema,
    "spans": _spans,
    "number": _number,
    "regex": _regex,
    "refusal": _refusal,
    "style": _style,
    "grounded": _grounded,
    "exact_match": _text,
    "normalized_match": _text,
}
