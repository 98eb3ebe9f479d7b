"""Make a task of context use from documents: facts at every place, among facts alike, and questions without one."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from etude.errors import EtudeError, Problems

TASK = """name: context
data: context.jsonl
columns: {prompt: prompt, fact: fact, place: place, others: others, words: words}
metric: context
max_new_tokens: 24
"""


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data context [DOCUMENTS] -o FOLDER`."""
    parser.add_argument("documents", nargs="?", metavar="DOCUMENTS", help="plain texts; a few of Etude's if left out")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="a new folder for the rows and the task")
    parser.add_argument(
        "--words", type=int, nargs="+", default=[100, 300, 700], metavar="N", help="lengths (100 300 700)"
    )
    parser.add_argument("--each", type=int, default=2, metavar="N", help="items for each length, place and kind (2)")
    parser.add_argument("--others", type=int, default=3, metavar="N", help="facts alike in half of the items (3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other facts and documents (0)")


def run(arguments: Namespace) -> int:
    """Write both files and say what they are."""
    from etude import durable
    from etude.data.read import read
    from etude.evaluation.context_items import ContextOptions, context_rows
    from etude.evaluation.retention import FOLDER
    from etude.records import Text

    options = ContextOptions(
        words=tuple(arguments.words), each=arguments.each, others=arguments.others, seed=arguments.seed
    )
    if problems := options.problems():
        raise Problems("context items", [EtudeError(says, where=f"--{name}") for name, says in problems])
    folder = Path(arguments.out)
    if folder.exists():
        raise EtudeError("is there already", where=str(folder), remedy="give another --out; nothing is overwritten")
    records = read(arguments.documents or str(FOLDER / "text.jsonl"), Text)
    rows = context_rows([one.text for one in records.rows if isinstance(one, Text)], options)
    durable.make_directory(folder)
    durable.write_text(folder / "context.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    durable.write_text(folder / "context.task.yaml", TASK)
    without = sum(row["fact"] is None for row in rows)
    print(f"{folder}: {len(rows)} items, {without} of them on facts that no document states")
    print(f"measure: etude evaluate RUN {folder / 'context.task.yaml'}; before and after training: evaluation.tasks")
    return 0
