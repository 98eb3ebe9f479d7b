"""What this machine has of memory, and the most that this process has held of it."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self")


def free_memory() -> float:
    """Bytes that a run could take: of the GPU if there is one, else of the machine or of this process's share of it."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return min(_machine(), _share())


def _machine() -> float:
    for name, count in _pairs(Path("/proc/meminfo")):
        if name == "MemAvailable:":
            return float(count) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _share() -> float:
    """What a container leaves (cgroup v2); file pages that it holds can go."""
    with suppress(OSError, ValueError):
        most = float((CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = float((CGROUP / "memory.current").read_text(encoding="utf-8"))
        pages = dict(_pairs(CGROUP / "memory.stat")).get("inactive_file", "0")
        return most - used + float(pages)
    return float("inf")


def _pairs(path: Path) -> list[tuple[str, str]]:
    with suppress(OSError):
        words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return [(word[0], word[1]) for word in words if len(word) > 1]
    return []


def forget_peak() -> None:
    """From here on `peak_memory` tells of what comes; where the system cannot forget, it tells of the whole process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5", encoding="utf-8")


def peak_memory() -> float:
    """The most bytes at once: on the GPU if there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    for name, count in _pairs(PROCESS / "status"):
        if name == "VmHWM:":
            return float(count) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
