"""How long the command takes before it computes anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15
ETUDE = Path(sys.executable).with_name("etude")


def main() -> None:
    """Prints medians over whole processes."""
    print("| command | median ms | min ms |\n|---|---|---|")
    for arguments in (["--help"], ["check", "examples/banking77.yaml"]):
        seconds = [_once(arguments) for _ in range(ROUNDS)]
        print(f"| etude {' '.join(arguments)} | {1e3 * statistics.median(seconds):.0f} | {1e3 * min(seconds):.0f} |")


def _once(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([str(ETUDE), *arguments], capture_output=True, check=False)
    return time.perf_counter() - started
