"""A number for each place of a row, read off the model's last hidden state: rewards, and values of a critic.

Shape letters: S sites, E hidden size.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from etude.durable import write_bytes
from etude.errors import ModelError

FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """One linear map in float32; fresh weights are so small that first values are about 0."""

    def __init__(self, width: int, generator: Generator, *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        fresh = torch.randn(width, generator=generator) / (width + 1) ** 0.5
        self.weight = nn.Parameter(fresh.to(device))

    def forward(self, hidden_SE: Tensor) -> Tensor:
        """Values, float32 [S]."""
        return hidden_SE.float() @ self.weight

    def save(self, folder: Path) -> None:
        from safetensors.torch import save

        write_bytes(folder / FILE, save({"weight": self.weight.detach().cpu()}))

    def load(self, folder: Path) -> None:
        """
        Raises:
            ModelError: the file is missing, damaged, or for another model.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(folder / FILE)["weight"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"{FILE} cannot be read ({error})", where=str(folder)) from error
        if found.shape != self.weight.shape:
            raise ModelError(f"{FILE} is for a model of width {len(found)}, not {len(self.weight)}", where=str(folder))
        with torch.no_grad():
            self.weight.copy_(found)
