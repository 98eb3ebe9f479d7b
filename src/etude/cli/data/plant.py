"""Make rows with random secrets to put beside training rows: how well they are remembered shows memorisation."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from etude.errors import EtudeError


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data plant --out FOLDER/canaries.jsonl`."""
    parser.add_argument("--out", required=True, metavar="FILE", help="a new JSONL file, in the folder of training rows")
    parser.add_argument(
        "--secrets", type=int, default=4, metavar="N", help="for each count of repeats, 1, 4 and 16 (4)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other secrets (0)")


def run(arguments: Namespace) -> int:
    """Write the rows and say what they are."""
    from etude import durable
    from etude.evaluation.canaries import REPEATS, canary_lines, make_canaries

    if arguments.secrets < 1:
        raise EtudeError(f"must be at least 1, got {arguments.secrets}", where="--secrets")
    path = Path(arguments.out)
    if path.exists():
        raise EtudeError("is there already", where=str(path), remedy="give another --out; nothing is overwritten")
    lines = canary_lines(make_canaries(arguments.secrets, seed=arguments.seed), seed=arguments.seed)
    durable.write_text(path, "".join(line + "\n" for line in lines))
    print(f"{path}: {len(lines)} rows, {arguments.secrets} secrets each written {', '.join(map(str, REPEATS))} times")
    print(f"train on the folder, then: etude report memorization RUN --canaries {path}")
    return 0
