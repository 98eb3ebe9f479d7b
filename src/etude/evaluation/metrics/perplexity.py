"""How likely a model finds texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Asks, Kind


@dataclass(frozen=True, kw_only=True)
class Perplexity(Kind):
    """Nats per learned token of conversations or texts, and their exponential."""

    asks: ClassVar[Asks] = "texts"
