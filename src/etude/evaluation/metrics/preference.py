"""Which of two answers a model puts first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Asks, Kind


@dataclass(frozen=True, kw_only=True)
class Preference(Kind):
    """The share of pairs whose better answer comes first: by the value head, else by likelihood."""

    asks: ClassVar[Asks] = "pairs"
