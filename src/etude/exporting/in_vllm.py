"""An exported adapter in a running vLLM server: what it reads and predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etude.endpoints.options import VllmOptions
from etude.endpoints.vllm import Vllm, open_vllm


@dataclass(frozen=True)
class InVllm:
    """One adapter, loaded there."""

    server: Vllm
    name: str

    def tokens(self, text: str) -> tuple[int, ...]:
        """The ids that it reads a rendered text as, control tokens understood."""
        return self.server.tokens(self.name, text)

    def predictions(self, tokens: Sequence[int], places: Sequence[int]) -> list[dict[int, float]]:
        """The most likely tokens at each of these places, given those before it, with their log-probabilities."""
        found = self.server.predictions(self.name, tokens)
        return [found[at] for at in places]


@contextmanager
def loaded_in_vllm(options: VllmOptions, adapter: Path) -> Iterator[InVllm]:
    """The adapter in a folder that the server sees too, until the block ends.

    Raises:
        EndpointError: the server is not there, or cannot load it.
    """
    server = open_vllm(options, where="--vllm")
    content = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    name = f"etude-export-{content[:16]}"  # never an older one's by its name
    server.load(name, adapter)
    try:
        yield InVllm(server, name)
    finally:
        server.unload(name)
