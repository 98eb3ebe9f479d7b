"""The parts of an update, named for the profiler; outside a profile a name costs a look at a flag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch.autograd.profiler import record_function

from etude.models import kernels

Phase = Literal["packing", "forward", "backward", "gradients over ranks", "optimizer", "held-out look", "saving"]

MARK = "etude: "
"""Before the name of a phase among a profile's events."""

_recording = False


def phase(name: Phase) -> AbstractContextManager[object]:
    """What happens inside the `with` block belongs to this part of the update."""
    return _recorded(name) if _recording else nullcontext()


@contextmanager
def _recorded(name: Phase) -> Iterator[None]:
    with record_function(f"{MARK}{name}"):
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what a GPU still computes belongs to the phase that asked for it


def record(on: bool) -> None:
    """Whether phases and C kernels show themselves to a running profiler."""
    global _recording
    _recording = kernels.shown_to_profiler = on
