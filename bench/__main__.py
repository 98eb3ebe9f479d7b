"""`python -m bench CASE`: runs one measurement and prints its table in Markdown, for bench/RESULTS.md."""

from __future__ import annotations

import sys

from bench import banking77, help_time, training_step

CASES = {
    "help": (help_time.main, "time of `etude --help` and `etude check`"),
    "step": (training_step.main, "rows/s, tokens/s and memory of training steps on BANKING77, tree against flat"),
    "banking77": (banking77.main, "the table of a finished run of examples/banking77.yaml"),
}


def main(arguments: list[str]) -> int:
    """Runs the named case; without a name, the short ones that need no finished run."""
    names = arguments or ["help", "step"]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"no case {unknown[0]!r}; there are:")
        for name, (_, says) in CASES.items():
            print(f"  {name:<10} {says}")
        return 2
    for name in names:
        CASES[name][0]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
