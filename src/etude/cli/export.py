"""A run, an adapter or a model as other tools take it: merged weights, an adapter, GGUF, Ollama; or adapters as one.

After every export the same rows go through the trained model and what was written; one that differs is marked failed.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

MERGE = "merge"
HUB = "hub"


def add_arguments(parser: ArgumentParser) -> None:
    """What to write, from what, and where."""
    parser.add_argument("subject", metavar="RUN_OR_MODEL", help="a run, an adapter or a model; or `merge`")
    parser.add_argument(
        "adapters", metavar="ADAPTER", nargs="*", help="after `merge`: runs or adapter folders to add up"
    )
    parser.add_argument(
        "--to",
        choices=("merged", "adapter", "gguf", "ollama", HUB),
        default="merged",
        help="the form (merged); hub: the adapter if there is one, else merged, to the repository of --push",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to write; exports/<name>-<form> if left out")
    parser.add_argument("--name", help="what the model is called; the run's name if left out")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="bfloat16",
        help="of merged weights (bfloat16)",
    )
    parser.add_argument(
        "--numbers", choices=("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"), default="q8_0", help="in GGUF (q8_0)"
    )
    parser.add_argument(
        "--vllm", metavar="URL", help="with --to adapter: a running `vllm serve BASE --enable-lora` that is asked too"
    )
    parser.add_argument("--vllm-key", metavar="VARIABLE", help="the environment variable that holds that server's key")
    parser.add_argument("--push", metavar="OWNER/NAME", help="a hub repository that gets the folder, in any form")
    parser.add_argument(
        "--method", choices=("sum", "ties", "dare", "dare-ties"), default="sum", help="of `merge` (sum)"
    )
    parser.add_argument("--weights", metavar="W,W", help="of `merge`: one for each adapter (ones)")
    parser.add_argument("--density", type=float, default=0.5, help="of `merge`: share kept by ties and dare (0.5)")
    parser.add_argument("--rank", type=int, help="of `merge`: rank of the result (the sum of the ranks)")


def run(arguments: Namespace) -> int:
    """Write, compare, print; 1 where what was written answers differently."""
    from etude.cli.terminal import quiet_libraries, say

    quiet_libraries()
    if arguments.subject == MERGE:
        return _merge(arguments)
    from etude.cycle.export import Exporting, export, form_for_hub
    from etude.cycle.show import Quiet
    from etude.endpoints.options import VllmOptions
    from etude.errors import ConfigError

    if arguments.to == HUB and not arguments.push:
        raise ConfigError("names no repository", where=f"--to {HUB}", remedy="give --push OWNER/NAME")
    name = arguments.name or Path(arguments.subject).name
    form = form_for_hub(arguments.subject) if arguments.to == HUB else arguments.to
    out = Path(arguments.out or f"exports/{name}-{form}")
    wanted = Exporting(
        to=form,
        out=out,
        precision=arguments.precision,
        numbers=arguments.numbers,
        name=name,
        vllm=VllmOptions(url=arguments.vllm, key_variable=arguments.vllm_key) if arguments.vllm else None,
        push_to=arguments.push,
    )
    exported = export(arguments.subject, wanted, show=Quiet())
    for parity in exported.parity:
        say(parity.sentence(), "green" if parity.holds else "red")
    for note in exported.notes:
        say(f"note: {note}", "yellow")
    say(f"{'written' if exported.holds else 'FAILED, kept for a look'}: {out}")
    if exported.pushed is not None:
        say(f"pushed: {exported.pushed} (a repository that was not there before is private)")
    return 0 if exported.holds else 1


def _merge(arguments: Namespace) -> int:
    from etude.cli.terminal import say
    from etude.errors import ConfigError
    from etude.exporting.arithmetic import Merging, merge_adapters
    from etude.runs.directory import is_run, open_run

    if not arguments.out:
        raise ConfigError("names no folder for the result", where="export merge", remedy="give --out")
    folders = [open_run(Path(one)).adapter if is_run(Path(one)) else Path(one) for one in arguments.adapters]
    try:
        weights = tuple(float(part) for part in arguments.weights.split(",")) if arguments.weights else ()
    except ValueError:
        raise ConfigError(f"--weights takes numbers, got {arguments.weights!r}", where="export merge") from None
    merging = Merging(method=arguments.method, weights=weights, density=arguments.density, rank=arguments.rank)
    merged = merge_adapters(folders, Path(arguments.out), merging)
    say(f"written: {arguments.out} (rank {merged.rank}, {merged.kept:.1%} of the additions' squared size kept)")
    return 0
