"""QLoRA: LoRA beside linear layers that are held in 4 or 8 bits (https://arxiv.org/abs/2305.14314)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, cast

from etude.models.options import Held
from etude.techniques.lora import LoRA


@dataclass(frozen=True, kw_only=True)
class QLoRA(LoRA):
    """LoRA on a base of a quarter (half with `int8`) of the memory; adapters and products keep their precision."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]  # one of LoRA's kinds
    base_held_as: Held = "nf4-double"
    """`nf4`: 4 bits and a scale for 64 weights, `nf4-double`: the scales in 8 bits, `int8`: 8 bits and a scale a
    row."""

    def problems(self) -> list[tuple[str, str]]:
        found = super().problems()
        if self.start == "pissa":
            found.append(("start", "pissa needs the weights before they are rounded; use zero"))
        return found

    @classmethod
    def from_lora(cls, adapter: LoRA, base_held_as: str) -> QLoRA:
        """The technique behind a LoRA adapter whose base was held in few bits."""
        settings = {field.name: getattr(adapter, field.name) for field in fields(adapter) if field.name != "kind"}
        return cls(**settings, base_held_as=cast("Held", base_held_as))
