"""What a run will take before anything is loaded: memory by term, what fits, time and cost, settings to begin with."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.cycle.plan import Option, Plan
    from etude.planning.memory import Memory

UNITS = {"": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2.0**20, "GIB": 2.0**30}


def add_arguments(parser: ArgumentParser) -> None:
    """The run file, and the machine that it is planned for."""
    parser.add_argument("file", help="the run file (YAML)")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="section.setting=value", help="settings to change, as in train"
    )
    parser.add_argument("--hardware", metavar="NAME", help="an accelerator, as a100-80; this machine if left out")
    parser.add_argument("--memory", metavar="SIZE", help="how much there is, as 24GB; what the machine has if left out")
    parser.add_argument("--model-config", metavar="FOLDER", help="a folder with a config.json, instead of the model's")
    parser.add_argument("--price", type=float, metavar="P", help="of an hour, in any currency")


def run(arguments: Namespace) -> int:
    """Predict and print; 1 where nothing fits."""
    from etude.cli.terminal import quiet_libraries, say
    from etude.config import RunFile, load_run_file, load_stages
    from etude.cycle.outlines import Begun
    from etude.cycle.plan import plan

    def told(run_file: RunFile, begun: list[RunFile]) -> bool:
        found = plan(
            run_file,
            hardware=arguments.hardware,
            memory_bytes=size_of(arguments.memory) if arguments.memory else None,
            config_path=arguments.model_config,
            price_per_hour=arguments.price,
            begun=Begun.by(begun),
        )
        for line in lines(found):
            say(line)
        return found.recommended is not None

    quiet_libraries()
    stages = load_stages(arguments.file, arguments.overrides)
    if stages is None:
        return 0 if told(load_run_file(arguments.file, arguments.overrides), []) else 1
    begun: list[RunFile] = []
    fits = True
    for stage in stages:
        run_file = stage.load(begun=False)
        say(f"stage {stage.name}")
        fits = told(run_file, begun) and fits
        say("")
        begun.append(run_file)
    return 0 if fits else 1


def size_of(text: str) -> float:
    """`24GB`, `80 GiB` or bytes, in bytes.

    Raises:
        ConfigError: no size.
    """
    from etude.errors import ConfigError

    found = re.fullmatch(r"\s*([\d.]+)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].upper() not in UNITS:
        raise ConfigError(f"expected a size such as 24GB, got {text!r}", where="--memory")
    return float(found[1]) * UNITS[found[2].upper()]


def lines(plan: Plan) -> list[str]:
    """The plan as people read it."""
    memory = plan.option.memory
    told = [
        f"{plan.shape.name}: {plan.shape.weights / 1e6:,.0f} M weights, {plan.option.technique} learns "
        f"{plan.option.trainable:,} ({plan.option.trainable / plan.shape.weights:.2%})",
        f"deepest pass {plan.tokens:,} tokens",
        *([f"writes {plan.answers}"] if plan.answers else []),
        "",
        *table(memory),
        "",
        f"  peak {_gb(memory.peak)} GB of {_gb(plan.room)} GB, while {memory.peak_phase}: "
        + _fit(plan.option, memory.largest),
        "",
        *(
            f"  {one.technique:<10} {_gb(one.memory.peak):>8} GB  {'fits' if one.fits else 'does not fit'}"
            for one in plan.others
        ),
        "",
        f"about {_time(plan.seconds)} of updates ({plan.speed})"
        + (f", {plan.price:,.2f} at that price" if plan.price is not None else "")
        + (", and what writing the answers takes" if plan.answers else ""),
    ]
    best = plan.recommended
    if best is None:
        told.append(
            f"nothing fits ({memory.largest} is most of it): lower data.tokens_per_batch or take a smaller model"
        )
    elif best is not plan.option:
        told.append(f"recommended: technique.kind={best.technique}")
    told += [f"  {one.setting}={one.value}  {one.why}" for one in plan.advice]
    return told


def table(memory: Memory) -> list[str]:
    """Gigabytes of each term, by phase of the run."""
    names = dict.fromkeys(name for terms in memory.phases.values() for name, size in terms.items() if size > 0)
    width = max(map(len, names))
    rows = [(name, [terms.get(name, 0.0) for terms in memory.phases.values()]) for name in names]
    rows.append(("together", [memory.of(phase) for phase in memory.phases]))
    head = f"  {'GB while':<{width}}" + "".join(f" {phase:>10}" for phase in memory.phases)
    return [head, *(f"  {name:<{width}}" + "".join(f" {_cell(size):>10}" for size in sizes) for name, sizes in rows)]


def _cell(size: float) -> str:
    """Empty where nothing is held."""
    return _gb(size) if size else ""


def _fit(option: Option, largest: str) -> str:
    return "fits" if option.fits else f"does not fit; most of it is {largest}"


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
