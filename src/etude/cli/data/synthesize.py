"""Let a model write new rows like the given ones, or from documents; each is checked, failures are kept with reasons.

The model is an endpoint (the YAML file of its settings) or a base model, an adapter or a run on this machine. A command
that was stopped goes on where it was: answers are kept beside the output. With --for-slice the seeds are the training
rows that an explanation found nearest to a slice of the task on which a run fails.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.cli.data.files import add_step, is_unfinished, perform, quiet_where_local, settings_of
from etude.data.synthesize import Synthesize
from etude.errors import EtudeError, Problems

if TYPE_CHECKING:
    from etude.data.inputs import Inputs
    from etude.data.synthesis.asking import Asked


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data synthesize FILE… -o OUT --model WHO`."""
    add_step(parser, Synthesize, needs_files=False)
    parser.add_argument(
        "--for-slice", metavar="EXPLANATION.json:SLICE", help="instead of FILE: more rows for a slice that is worse"
    )
    who = "an endpoint's settings (YAML), a base model, an adapter or a run"
    parser.add_argument("--model", required=True, metavar="WHO", help=f"who writes: {who}")
    parser.add_argument("--judge", metavar="WHO", help=f"who rates what was written from 1 to 5: {who}")
    parser.add_argument("--reward", metavar="RUN", help="for --best-of: the run whose reward model rates the answers")
    parser.add_argument("--temperature", type=float, metavar="X", help="of the writer (an endpoint's own, else 0.8)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer (an endpoint's own, else 256)")
    parser.add_argument("--most-requests", type=int, metavar="N", help="requests that this command sends the writer")
    parser.add_argument("--most-tokens", type=int, metavar="N", help="tokens that it pays the writer for")
    parser.add_argument("--most-cost", type=float, metavar="X", help="what it pays the writer, by its prices")


def run(arguments: Namespace) -> int:
    """Make rows or pairs, and say how many passed."""
    chosen = settings_of(arguments, Synthesize)
    if wrong := _conflicts(arguments, chosen):
        raise Problems("command line", wrong)
    inputs = None
    if arguments.for_slice is not None:
        inputs, has_label = _seeds_of_slice(arguments.for_slice)
        # New rows for a label are rows with that label.
        arguments.known_answers = chosen.known_answers or (has_label and not chosen.best_of)
        chosen = settings_of(arguments, Synthesize)
    asked = _asked(arguments, chosen)
    force = arguments.force or is_unfinished(Path(arguments.output), chosen, "synthesis")
    return perform(arguments, Synthesize, asked=asked, force=force, inputs=inputs)


def _seeds_of_slice(named: str) -> tuple[Inputs, bool]:
    """The training rows nearest to the slice, and whether all of them have its label.

    Raises:
        EtudeError: no such explanation or slice, or none of the rows is known.
    """
    from etude.cli.terminal import progress, say
    from etude.data.inputs import Reading, open_inputs
    from etude.diagnosis.explanation import load_explanation

    file, mark, name = named.partition(".json:")
    if not mark or not name:
        raise EtudeError(f"expected EXPLANATION.json:SLICE, got {named!r}", where="--for-slice")
    found = load_explanation(Path(f"{file}.json"))
    one = found.named(name)
    if found.train is None or not one.nearest:
        raise EtudeError(
            f"knows no training rows near {name!r}", where=f"{file}.json",
            remedy="explain a run whose training rows are still there, and choose a slice that is worse",
        )  # fmt: skip
    reading = Reading(format=found.reading["format"], columns=found.reading["columns"])
    inputs = replace(open_inputs([found.train], reading, progress=progress), only=frozenset(one.seeds))
    text = f"{name}: {len(one.seeds)} of the training rows in {found.train} are the seeds"
    say(text)
    return inputs, one.has_rows_of_its_label


def _conflicts(arguments: Namespace, chosen: Synthesize) -> list[str]:
    found = []
    if chosen.best_of and (arguments.judge is None) == (arguments.reward is None):
        found.append("--best-of: needs either --judge or --reward, which says which answer is best")
    if arguments.reward is not None and not chosen.best_of:
        found.append("--reward: rates answers for --best-of only; new rows are rated by a --judge")
    if bool(arguments.files) == (arguments.for_slice is not None):
        found.append("FILE: give either files with seeds, or --for-slice")
    if arguments.for_slice is not None and (arguments.columns or arguments.format != "auto"):
        found.append("--columns, --format: the explanation named by --for-slice knows how its rows are read")
    if chosen.answers and arguments.judge is not None:
        found.append("--judge: rates new rows, or answers for --best-of; --answers keeps every whole answer")
    if arguments.judge is None:
        given = {"--least-score": chosen.least_score, "--judge-template": chosen.judge_template}
        found += [f"{flag}: needs a --judge" for flag, value in given.items() if value is not None]
    if arguments.temperature is not None and not 0 <= arguments.temperature < float("inf"):
        found.append(f"--temperature: must be a number of at least 0, got {arguments.temperature:g}")
    if arguments.max_tokens is not None and arguments.max_tokens < 1:
        found.append(f"--max-tokens: must be at least 1, got {arguments.max_tokens}")
    return found


def _asked(arguments: Namespace, chosen: Synthesize) -> Asked:
    from etude.cycle.asking import Drawing, Limits, open_judge, open_writer, reward_of
    from etude.data.synthesis.asking import Asked

    quiet_where_local(arguments.model, arguments.judge, arguments.reward)
    cache = Path(f"{arguments.output}.answers")
    drawing = Drawing(temperature=arguments.temperature, max_tokens=arguments.max_tokens, seed=chosen.seed)
    limits = Limits(
        most_requests=arguments.most_requests, most_tokens=arguments.most_tokens, most_cost=arguments.most_cost
    )
    writer = open_writer(arguments.model, cache, drawing, limits)
    if (chosen.best_of or chosen.agree > 1) and not writer.varies:
        flag = "--best-of" if chosen.best_of else "--agree"
        raise Problems("command line", [f"{flag}: at temperature 0 all answers are the same; set --temperature"])
    judge = None if arguments.judge is None else open_judge(arguments.judge, cache, writer=writer)
    reward = None if arguments.reward is None else reward_of(arguments.reward)
    return Asked(writer, judge, reward, arguments.reward or "")
