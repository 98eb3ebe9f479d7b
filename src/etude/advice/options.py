"""The knobs of advice."""

from __future__ import annotations

from dataclasses import dataclass

from etude.advice.recommend import Wishes


@dataclass(frozen=True, kw_only=True)
class AdviseOptions:
    """Which ways are measured, on how much, and what counts."""

    train: str | None = None
    """Rows with answers, in the layout of the task's rows: examples, rows to retrieve, rows to learn from."""
    models: tuple[str, ...] = ("smollm2-135m-instruct",)
    """Base models on this machine; of several the best one after the same short training goes on."""
    endpoints: tuple[str, ...] = ()
    """Files with the settings of OpenAI-compatible endpoints (YAML), which are prompted."""
    documents: tuple[str, ...] = ()
    """Files or folders of texts to retrieve passages from; the training rows where there are none."""
    examples: tuple[int, ...] = (4, 8, 16)
    """Numbers of examples that are tried on rows set aside for it."""
    sizes: tuple[int, ...] = (100, 300, 1000, 3000)
    """Numbers of training rows to learn from; those that are not there are extrapolated."""
    items: int | None = None
    """Only so many of the task's items, evenly over the file."""
    matters: float = 0.02
    """Difference in quality below which cost decides."""
    target: float | None = None
    """Quality that is enough: of the ways that surely reach it the cheapest is recommended."""
    requests: float | None = None
    """Requests over the time in which what fine-tuning costs must pay."""
    price_per_hour: float | None = None
    """Of this machine, in any currency."""
    price_per_row: float = 0.0
    """Of a labelled training row."""
    batch_rows: int = 32
    """Prompts decoded together."""
    seed: int = 0
    """Which rows are set aside, and which are learned from first."""

    @property
    def wishes(self) -> Wishes:
        """What counts."""
        return Wishes(matters=self.matters, target=self.target, requests=self.requests)

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found = []
        if not self.models and not self.endpoints:
            found.append(("models", "nothing would be measured: name a model or an endpoint"))
        for name in ("examples", "sizes"):
            values = getattr(self, name)
            if not values or min(values) < 1 or list(values) != sorted(set(values)):
                found.append((name, f"must be rising numbers from 1 on, got {' '.join(map(str, values)) or 'none'}"))
        for name in ("items", "batch_rows"):
            if (value := getattr(self, name)) is not None and value < 1:
                found.append((name, f"must be at least 1, got {value}"))
        for name in ("matters", "target", "requests", "price_per_hour", "price_per_row"):
            if (value := getattr(self, name)) is not None and value < 0:
                found.append((name, f"must not be below 0, got {value:g}"))
        return found
