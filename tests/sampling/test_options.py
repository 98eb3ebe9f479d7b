"""Every setting out of range is named."""

from __future__ import annotations

import math
from typing import Any

import pytest

from etude.sampling.options import SampleOptions


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"stop": ("x", "")}, "stop"),
    ],
)
def test_out_of_range(wrong: dict[str, Any], name: str) -> None:
    assert [setting for setting, _ in SampleOptions(**wrong).problems()] == [name]


def test_defaults_are_sound() -> None:
    assert SampleOptions().problems() == []
