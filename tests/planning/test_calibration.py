"""When a measurement of this machine is believed."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from etude.planning import calibration
from etude.planning.calibration import SETTLED

if TYPE_CHECKING:
    import pytest


def test_it_goes_on_until_nothing_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "FEWEST_SECONDS", 0.0)
    asked, seconds = count(1), [5.0, 4.0, 4.5, 4.5, 2.0, 1.99]  # the last is hardly faster

    def measure() -> float:
        return [*seconds, *[3.0] * 20][next(asked) - 1]

    assert calibration._fastest(measure) == 1.99
    assert next(asked) - 1 == 5 + SETTLED
