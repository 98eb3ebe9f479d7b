"""From what a slice's failures have in common to what would help, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from etude.diagnosis.explanation import Slice
from etude.diagnosis.mistakes import CUT, INVALID_JSON, NO_LABEL

MOSTLY = 0.5
OFTEN = 0.4
FEW = 0.5
"""A label with less than this share of the usual number of rows has few."""
FAR = 0.05
"""Cosine by which failures are farther from training rows than other items before that is said."""


def suggestion(one: Slice, *, usual_alike: float | None) -> str:
    """What to do about a slice that is worse; `usual_alike` is how near training rows are to all items."""
    said = [*_rows_missing(one), *_form(one.mistakes, one.failed), *_confused(one)]
    if not said and one.alike is not None and usual_alike is not None and one.alike < usual_alike - FAR:
        said.append(
            f"training has little like these questions (cosine {one.alike:.2f} with the nearest row, {usual_alike:.2f} "
            "for all items): add rows like them"
        )
    if not said:
        said.append("add rows like the nearest ones below, and look whether their answers are right")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _rows_missing(one: Slice) -> list[str]:
    if one.training_rows is None or one.usual_rows is None or one.training_rows >= FEW * one.usual_rows:
        return []
    missing = round(one.usual_rows) - one.training_rows
    have = "no training row has" if not one.training_rows else f"{_rows(one.training_rows)} only"
    what = "this answer" if not one.training_rows else "with this answer in training"
    return [f"{have} {what}, {one.usual_rows:g} are usual: add about {missing}"]


def _rows(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"


def _form(mistakes: Sequence[tuple[str, int]], failed: int) -> list[str]:
    shares = {name: count / max(1, failed) for name, count in mistakes}
    if shares.get(CUT, 0) >= MOSTLY:
        return ["most answers were cut: raise max_new_tokens, or add rows with shorter answers"]
    if sum(share for name, share in shares.items() if name.startswith(INVALID_JSON)) >= MOSTLY:
        return ["most answers are not JSON: add rows whose whole answer is one object"]
    if shares.get(NO_LABEL, 0) >= MOSTLY:
        return ["most answers are none of the labels: add rows whose whole answer is a label"]
    fields = [name for name, share in shares.items() if name.startswith("field ") and share >= MOSTLY]
    return [f"mostly {fields[0]}: add rows in which it differs"] if fields else []


def _confused(one: Slice) -> list[str]:
    if not one.confusions or one.confusions[0][1] < OFTEN * one.failed:
        return []
    label, count = one.confusions[0]
    return [
        f"{count} of {one.failed} failures were answered {label!r}: add rows that show the difference, and look for "
        "wrong labels among the nearest ones"
    ]
