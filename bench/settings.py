"""The peers' settings against each other: how the ones in `bench.cases` were chosen."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.cases import DPO, FULL, GRPO, LLAMAFACTORY, LORA, ROOMY_HEAP, SAMPLE_32, TEXT, Case
from bench.pairs import Options, peers, shorter

HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
STEPS = 8

TRIALS: tuple[tuple[Case, str, Mapping[str, Any], Mapping[str, str]], ...] = (
    (LORA, "as it comes: sdpa, TRL's head", {"attention": "sdpa", "head": "trl"}, {}),
    (LORA, "sdpa", {"attention": "sdpa"}, {}),
    (LORA, "sdpa, no autocast", {"attention": "sdpa", "autocast": False}, {}),
    (LORA, "sdpa, float32 weights", {"attention": "sdpa", "dtype": "float32"}, {}),
    (LORA, "sdpa, padding-free", {"attention": "sdpa", "padding_free": True}, {}),
    (LORA, "sdpa, padded to 32", {"attention": "sdpa", "pad_to_multiple_of": 32}, {}),
    (LORA, "sdpa, passes of 4", {"attention": "sdpa", "samples_per_pass": 4}, {}),
    (LORA, "sdpa, checkpointing", {"attention": "sdpa", "gradient_checkpointing": True}, {}),
    (LORA, "sdpa, roomy heap", {"attention": "sdpa"}, ROOMY_HEAP),
    (LORA, "eager", {}, {}),
    (LORA, "eager, huge pages", {}, HUGE_PAGES),
    (LORA, "eager, roomy heap (chosen)", {}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, huge pages", {}, {**ROOMY_HEAP, **HUGE_PAGES}),
    (LORA, "eager, roomy heap, padding-free", {"padding_free": True}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, padded to 16", {"pad_to_multiple_of": 16}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, passes of 8", {"samples_per_pass": 8}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, no autocast", {"autocast": False}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, TRL's head", {"head": "trl"}, ROOMY_HEAP),
    (LORA, "eager, roomy heap, TRL's head at learned positions", {"head": "compact"}, ROOMY_HEAP),
    (LORA, "compiled, padded to 32", {"compile": True, "pad_to_multiple_of": 32}, ROOMY_HEAP),
    (TEXT, "passes of 4 (chosen)", {}, ROOMY_HEAP),
    (TEXT, "passes of 16", {"samples_per_pass": None}, ROOMY_HEAP),
    (TEXT, "passes of 4, TRL's head", {"head": "trl"}, ROOMY_HEAP),
    (FULL, "bfloat16 weights (chosen)", {}, ROOMY_HEAP),
    (FULL, "float32 weights, autocast", {"dtype": "float32", "autocast": True}, ROOMY_HEAP),
    (DPO, "passes of 1 pair (chosen)", {}, ROOMY_HEAP),
    (DPO, "passes of 4 pairs, sdpa", {"samples_per_pass": 4, "attention": "sdpa"}, ROOMY_HEAP),
    (DPO, "passes of 2 pairs, head at learned positions", {"samples_per_pass": 2, "head": "compact"}, ROOMY_HEAP),
    (GRPO, "passes of 1 group (chosen)", {}, ROOMY_HEAP),
    (GRPO, "passes of 1 group, sdpa", {"attention": "sdpa"}, ROOMY_HEAP),
    (GRPO, "passes of 1 group, head at learned positions", {"head": "compact"}, ROOMY_HEAP),
    (LLAMAFACTORY, "eager (chosen)", {}, ROOMY_HEAP),
    (LLAMAFACTORY, "sdpa", {"attention": "sdpa"}, ROOMY_HEAP),
    (SAMPLE_32, "sdpa, static cache (chosen)", {}, ROOMY_HEAP),
    (SAMPLE_32, "sdpa", {"cache": None}, ROOMY_HEAP),
    (SAMPLE_32, "eager", {"cache": None, "attention": "eager"}, ROOMY_HEAP),
)
"""(case, in words, what differs from the case's own settings, variables of the process)."""


def main(options: Options) -> None:
    """One process each; a trial that fails is said to have failed."""
    print("| case | settings | examples/s | all updates, s | peak RSS GB |\n|---|---|---|---|---|")
    for case, name, changed, variables in TRIALS:
        settings = {**case.settings, **changed}
        short = shorter(replace(case, settings=settings, variables=variables), options.steps or STEPS)
        try:
            found = peers(short, seconds=300)
        except (SystemExit, subprocess.TimeoutExpired) as error:
            print(f"| {case.name} | {name} | failed ({type(error).__name__}) | | |", flush=True)
            continue
        print(
            f"| {case.name} | {name} | {found.rows_per_second(short.warm):.2f} | {found.whole_seconds():.1f} "
            f"| {found.peak_gigabytes:.2f} |",
            flush=True,
        )
