"""Rows as labelling tools export them, unfolded: a plain row for each person's answer.

Label Studio's JSON (https://labelstud.io/guide/task_format) has `data` and `annotations`, its JSON-MIN and CSV are
plain rows already. Argilla's records (https://docs.argilla.io) have `fields` and `responses`, nested or flattened with
dots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from etude.data.check import RowError
from etude.data.rows import Columns

LEFT_OUT = ("discarded", "draft", "pending")
"""What Argilla says of responses that were not handed in."""
USERS, STATUS, RESPONSES = ".responses.users", ".responses.status", ".responses"


def unfolded(columns: Columns) -> Iterator[Columns | RowError]:
    """The row itself, or one for each response in it; RowError for one that cannot be read."""
    if isinstance(columns.get("data"), dict) and isinstance(columns.get("annotations"), list):
        yield from _label_studio(columns)
        return
    answered = _argilla(columns)
    if answered is None:
        yield columns
    else:
        yield from answered


def _label_studio(task: Mapping[str, Any]) -> Iterator[Columns | RowError]:
    for annotation in task["annotations"]:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            yield RowError("an annotation without a list of results")
            continue
        if annotation.get("was_cancelled"):
            yield {**task["data"], "preference": "skip", "thumb": "skip"}
            continue
        row = {**task["data"], "annotator": annotation.get("completed_by"), "seconds": annotation.get("lead_time")}
        for result in annotation["result"]:
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                row.update(_result(result, task["data"]))
        yield row


def _result(result: Mapping[str, Any], data: Mapping[str, Any]) -> Columns:
    """What one control of the labelling page says, as columns."""
    value, name = result["value"], str(result.get("from_name"))
    match result.get("type"):
        case "pairwise":
            return {"preference": value.get("selected")}
        case "rating" | "number":
            said = value.get("rating", value.get("number"))
            answer = data.get(str(result.get("to_name")))
            return {"rating": said, name: said, **({} if answer is None else {"answer": answer})}
        case "choices":
            chosen = (value.get("choices") or [None])[0]
            return {name: chosen, "preference": chosen, "thumb": chosen}
        case "textarea":
            text = value.get("text")
            return {
                "edited": text[0] if isinstance(text, list) and text else text,
                "original": data.get("original", data.get("answer")),
            }
        case "ranker":
            return _ranked(value.get("ranker"), data)
    return {}


def _ranked(held: object, data: Mapping[str, Any]) -> Columns:
    """Answers in the order of the data's list, with their places among the ids that were ranked."""
    order = next(iter(held.values()), []) if isinstance(held, dict) else held
    items = next((one for one in data.values() if isinstance(one, list) and one and isinstance(one[0], dict)), [])
    texts = {str(item.get("id")): item.get("body", item.get("text", item.get("title"))) for item in items}
    if not isinstance(order, list) or not {str(one) for one in order} <= texts.keys():
        return {}
    ids = [str(one) for one in order]
    return {"answers": [texts[one] for one in ids], "ranks": list(range(1, len(ids) + 1))}


def _argilla(columns: Columns) -> Iterator[Columns] | None:
    """A row for each user; None if this is no record of Argilla's."""
    fields, responses = columns.get("fields"), columns.get("responses")
    if isinstance(fields, dict) and isinstance(responses, dict):
        return _by_user(fields, responses)
    flat = [name.removesuffix(USERS) for name in columns if name.endswith(USERS)]
    if flat:
        return _by_user(columns, {name: _zipped(columns, name) for name in flat})
    older = {name: held for name, held in columns.items() if _is_responses(held)}
    return _by_user(columns, older) if older else None


def _zipped(columns: Columns, name: str) -> list[dict[str, Any]]:
    held = (columns.get(f"{name}{RESPONSES}"), columns.get(f"{name}{USERS}"), columns.get(f"{name}{STATUS}"))
    values, users, states = (one if isinstance(one, list) else [] for one in held)
    states = states or [None] * len(values)
    return [{"value": v, "user_id": u, "status": s} for v, u, s in zip(values, users, states, strict=False)]


def _is_responses(held: object) -> bool:
    return (
        isinstance(held, list)
        and bool(held)
        and all(isinstance(one, dict) and {"user_id", "value"} <= one.keys() for one in held)
    )


def _by_user(fields: Mapping[str, Any], responses: Mapping[str, Any]) -> Iterator[Columns]:
    said: dict[str, Columns] = {}
    for question, answers in responses.items():
        for one in answers if isinstance(answers, list) else ():
            if isinstance(one, dict) and one.get("status") not in LEFT_OUT:
                row = said.setdefault(str(one.get("user_id")), {**fields, "annotator": one.get("user_id")})
                row.update(_response(question, one.get("value"), fields))
    yield from said.values()


def _response(question: str, value: Any, fields: Mapping[str, Any]) -> Columns:
    """A ranking names fields, best first or with their ranks; everything else is a column of the question's name."""
    if isinstance(value, list) and value:
        ranked = [(one.get("value"), one.get("rank")) if isinstance(one, dict) else (one, None) for one in value]
        if all(isinstance(name, str) and name in fields for name, _ in ranked):
            ranks = [place if rank is None else rank for place, (_, rank) in enumerate(ranked, start=1)]
            return {"answers": [fields[str(name)] for name, _ in ranked], "ranks": ranks}
    return {question: value}
