"""`python -m bench CASE …`: runs measurements and prints their tables in Markdown, for bench/RESULTS.md."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec

from bench.cases import PAIRED
from bench.pairs import Options, run

PAIRS = {case.name: case for case in PAIRED}
OWN = {
    "step": ("bench.step", "Etude's ways to compute a training step: kernels, prefix sharing"),
    "memory": ("bench.memory", "least peak memory of each training case, the peer at its leanest"),
    "long": ("bench.long_rows", "one row of 512 to 8,192 tokens: seconds and memory as work grows"),
    "products": ("bench.products", "share of the training step in matrix products"),
    "techniques": ("bench.techniques", "each technique on two tasks: quality, memory, time, forgetting (hours)"),
    "verdicts": (
        "bench.verdicts",
        "how often the verdict is wrong: seeds, A/A, planted regressions (`--model`)",
    ),
    "settings": ("bench.settings", "the peers' settings against each other"),
    "accuracy": (
        "bench.accuracy",
        "whole command from file to measured adapter on BANKING77 (`--epochs`; over an hour)",
    ),
}
"""Modules with `main(options)`."""
ALONE = {
    "help": ("bench.help_time", "time of `etude --help` and `etude check`"),
    "banking77": ("bench.banking77", "the table of a finished run of examples/banking77.yaml"),
    "planned": ("bench.planned", "predicted against measured peaks of memory"),
    "planned-runs": ("bench.planned_runs", "the same of whole runs: rewards, PPO, GRPO, a teacher"),
    "large-memory": ("bench.large_memory", "peaks of full, LoRA and QLoRA on a model of 753 million weights"),
    "planned-gpu": ("bench.planned_gpu", "predicted peaks of 1B to 70B models against fake tensors counted"),
    "swapped-labels": ("bench.swapped_labels", "how well swapped preference labels are seen"),
    "reward-model": ("bench.reward_model", "a reward model of human preferences, on held-out pairs"),
    "grpo-snips": ("bench.grpo_snips", "GRPO from a checkable reward alone, on held-out requests"),
    "dpo-harmless": ("bench.dpo_harmless", "DPO on human preferences, judged by a reward model of other pairs"),
    "ppo-harmless": ("bench.ppo_harmless", "PPO against a reward model of human preferences, three seeds"),
    "startup": ("bench.startup", "time before the first update"),
    "redaction": ("bench.redaction", "personal data found, against Presidio's analyzer"),
    "harness": ("bench.harness", "lm-evaluation-harness by Etude, by its own backend, and `generate`"),
    "data": ("bench.data_scale", "data preparation as files grow"),
    "data-quality": ("bench.data_quality", "near copies and rendering against datasets.map; a million rows"),
    "meaning": ("bench.meaning", "paraphrases that cleaning sees with an embedding model and without"),
    "same-label": ("bench.same_label", "new wordings with another meaning that augmenting drops"),
    "data-audit": ("bench.data_audit", "audits as files grow, and planted wrong labels that they find"),
    "iterate": ("bench.iterate", "what `etude iterate` recovers of classes that were cut to two rows"),
    "gpu": ("bench.gpu", "the same on a GPU"),
}
"""Modules with `main()`; those that are not there are not listed."""


def listing() -> str:
    there = {name: entry for name, entry in ALONE.items() if find_spec(entry[0]) is not None}
    says = {name: case.says for name, case in PAIRS.items()}
    says.update({name: text for name, (_, text) in {**OWN, **there}.items()})
    return "\n".join(f"  {name:<14} {text}" for name, text in says.items())


def main(arguments: list[str]) -> int:
    """Runs the named cases; without a name, lists them."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("case", nargs="*")
    parser.add_argument("--pairs", type=int, default=Options.pairs, help="runs of each side, by turns")
    parser.add_argument("--steps", type=int, help="updates of a run (default: the case's own number)")
    parser.add_argument("--epochs", type=float, default=Options.epochs, help="of the case `accuracy`")
    parser.add_argument("--model", help="of the case `verdicts`: train this model instead of small classifiers")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.case if name not in {**PAIRS, **OWN, **ALONE}]
    if unknown or not given.case:
        print(f"{f'no case {unknown[0]!r}; ' if unknown else ''}there are:\n{listing()}")
        return 2 if unknown else 0
    options = Options(pairs=given.pairs, steps=given.steps, epochs=given.epochs, model=given.model)
    for name in given.case:
        if name in PAIRS:
            run(PAIRS[name], options)
        elif name in OWN:
            import_module(OWN[name][0]).main(options)
        else:
            import_module(ALONE[name][0]).main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
