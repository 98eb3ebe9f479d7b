"""Multiple choice by likelihood: the model writes nothing, and is asked which choice it finds likeliest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from etude.evaluation.metrics.base import Asks, Kind

By = Literal["characters", "tokens", "total"]


@dataclass(frozen=True, kw_only=True)
class Choice(Kind):
    """1 if the right choice is the likeliest after the prompt.

    Rows have `choices`, a list of texts, and `answer`, the index of the right one from 0, or its text. Both columns
    can be renamed under the task's `columns`.
    """

    by: By = "characters"
    """What a choice's log-probability is divided by before the likeliest is taken: `characters` or `tokens`, so that
    long choices have a chance; `total`: nothing."""
    chat: bool = False
    """Ask in the chat template; without it, the prompt is plain text that the choice continues after a space."""

    asks: ClassVar[Asks] = "choices"
    reads: ClassVar[tuple[str, ...]] = ("choices", "answer")
