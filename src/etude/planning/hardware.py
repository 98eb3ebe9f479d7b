"""Known accelerators: memory, peak of dense 16-bit products, and where the figures are from.

Prices differ by provider and week, so none is built in: `--price` is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device."""

    memory_gb: float
    """10⁹ bytes that a program can use, about."""
    teraflops: float
    """Dense bfloat16 (float16 where there is no bfloat16), without sparsity."""
    source: str


HARDWARE: Mapping[str, Hardware] = {
    "t4": Hardware(15.8, 65, "nvidia.com/en-us/data-center/tesla-t4"),
    "l4": Hardware(23.7, 121, "nvidia.com/en-us/data-center/l4"),
    "rtx-3090": Hardware(25.3, 71, "NVIDIA Ampere GA102 whitepaper"),
    "rtx-4090": Hardware(25.3, 165, "NVIDIA Ada GPU architecture whitepaper"),
    "a10": Hardware(23.7, 125, "nvidia.com/en-us/data-center/products/a10-gpu"),
    "a6000": Hardware(50.8, 155, "NVIDIA RTX A6000 datasheet"),
    "l40s": Hardware(47.7, 362, "nvidia.com/en-us/data-center/l40s"),
    "a100-40": Hardware(42.2, 312, "NVIDIA A100 datasheet"),
    "a100-80": Hardware(84.9, 312, "NVIDIA A100 datasheet"),
    "h100": Hardware(84.9, 989, "NVIDIA H100 datasheet, SXM"),
    "h200": Hardware(150.0, 989, "NVIDIA H200 datasheet"),
    "b200": Hardware(190.0, 2250, "NVIDIA Blackwell architecture brief"),
}
EFFICIENCY = 0.4
"""Of the peak that training reaches, where it was not measured."""
