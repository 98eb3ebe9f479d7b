"""What a run may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PlanningOptions:
    """What is checked before a run, and what its time costs."""

    check_memory: bool = True
    """Refuse, before anything is loaded, a run whose least expected peak is over what the machine has free."""
    price_per_hour: float | None = None
    """Of the machine, in any currency: the report then tells what the run cost."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        if self.price_per_hour is not None and self.price_per_hour < 0:
            return [("price_per_hour", f"must not be below 0, got {self.price_per_hour:g}")]
        return []
