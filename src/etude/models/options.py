"""Which base model, and how its numbers are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "bfloat16", "float32"]
Checkpointing = Literal["auto", "always", "never"]
Held = Literal["nf4", "nf4-double", "int8"]
"""Linear layers in 4 bits (https://arxiv.org/abs/2305.14314), the same with scales in 8 bits, or in 8 bits."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The base model of a run."""

    name: str
    """Hub id, local folder, a `.gguf` file, or `smollm2-135m-instruct`."""
    revision: str | None = None
    """Hub commit, tag or branch."""
    precision: Precision = "auto"
    """How weights are held and products computed: `auto` takes bfloat16 where the processor computes in it (GPUs,
    CPUs with AVX512-BF16 or AMX), else float32, which is then faster and exact. `bfloat16` on such a processor still
    halves the memory of the weights; the products of llama-like models go through float32 there."""
    activation_checkpointing: Checkpointing = "auto"
    """Whether a layer's activations are computed again in the backward pass instead of kept: far less memory, about a
    third more time. `auto`: where they would take over 2 GiB (on a GPU: half of its free memory)."""
