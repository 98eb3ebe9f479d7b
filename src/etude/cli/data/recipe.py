"""Write a commented run file and its task file for a field, to start from; without a name, list the fields."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from etude.errors import EtudeError


def add_arguments(parser: ArgumentParser) -> None:
    """`etude data recipe [NAME] [-o FILE]`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the field; left out, all are listed")
    parser.add_argument("-o", "--output", metavar="FILE", help="the run file to write (NAME.yaml)")
    parser.add_argument("--data", default="train.jsonl", metavar="FILE", help="the rows to train on (train.jsonl)")
    parser.add_argument("--test", default="test.jsonl", metavar="FILE", help="the rows to measure on (test.jsonl)")


def run(arguments: Namespace) -> int:
    """Write both files, neither over one that is there."""
    from difflib import get_close_matches

    from etude import durable
    from etude.cycle.recipes import RECIPES, run_file_of, task_file_of

    name = arguments.name
    if name is None:
        width = max(map(len, RECIPES))
        print("\n".join(f"{known:<{width}}  {recipe.says}" for known, recipe in RECIPES.items()))
        return 0
    if name not in RECIPES:
        [*near] = get_close_matches(name, RECIPES, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise EtudeError(f"no recipe is called {name!r}", where="etude data recipe", remedy=remedy)
    path = Path(arguments.output or f"{name}.yaml")
    task = path.with_name(f"{path.stem}.task.yaml")
    for file in (path, task):
        if file.exists():
            raise EtudeError("is there already", where=str(file), remedy="choose another name with -o")
    durable.make_directory(path.parent, exist_ok=True)
    durable.write_text(task, task_file_of(name, test=arguments.test))
    durable.write_text(path, run_file_of(name, data=arguments.data, test=arguments.test, task=task.name))
    print(f"wrote {path} and {task}; next: etude check {path}")
    return 0
