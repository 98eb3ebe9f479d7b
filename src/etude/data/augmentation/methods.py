"""The ways in which new rows are made from given ones."""

from __future__ import annotations

from typing import Literal

Method = Literal["noise", "paraphrase", "swap", "model", "back-translation"]
BY_MODEL = ("model", "back-translation")
