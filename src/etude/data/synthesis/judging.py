"""What a judge said of a made row, wherever rows are made."""

from __future__ import annotations

from typing import Any

from etude.data.synthesis.templates import read_score
from etude.endpoints.exchange import NoReply, Reply

ENOUGH = 4
"""What a judge must give, of 5, where nothing else is said."""
UNCHECKED = "not checked: the budget was spent"
Verdict = tuple[str, dict[str, object]]
"""Why a row goes: a reason, and facts."""


def score_of(reply: Reply | NoReply | None) -> int | None:
    """From 1 to 5; None where the judge gave no such number."""
    return read_score(reply.text) if isinstance(reply, Reply) else None


def judged(reply: Reply | NoReply | None, *, enough: int, judge: str) -> tuple[Verdict | None, dict[str, Any]]:
    """Why the row goes (None: it stays), and what to note of it; no reply: the judge could not be asked any more."""
    score = score_of(reply)
    facts: dict[str, Any] = {"score": score, "judge": judge}
    if reply is None:
        return (UNCHECKED, {}), facts
    if score is None:
        return ("no judgement", {"found": reply.text if isinstance(reply, Reply) else reply.reason}), facts
    return None if score >= enough else ("judged too low", facts), facts
