"""Files and functions that fit on a screen or a few, under names that say what is in them."""

from __future__ import annotations

import ast
from pathlib import Path

from etude.objectives import OBJECTIVES
from tests.architecture.source import ROOT, files, short, tree

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_OBJECTIVE_LINES = 45
"""Of code: without imports, docstrings, comments and empty lines."""
SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "core", "stuff"}


def test_files_are_short() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in files("src", "tests", "bench", "docs")
    }
    too_long = [f"{short(path)}: {length} lines" for path, length in lengths.items() if length > MAX_FILE_LINES]
    assert not too_long, too_long


def test_functions_are_short() -> None:
    too_long = []
    for path in files("src", "tests", "bench", "docs"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    too_long.append(f"{short(path)}:{node.lineno} {node.name}: {length} lines")
    assert not too_long, too_long


def test_an_objective_fits_on_a_screen() -> None:
    places = [Path("src", *place.split(":")[0].split(".")).with_suffix(".py") for place in OBJECTIVES.values()]
    lengths = {str(path): _lines_of_code(ROOT / path) for path in places}
    assert len(lengths) == len(OBJECTIVES)
    assert not {path: length for path, length in lengths.items() if length > MAX_OBJECTIVE_LINES}


def _lines_of_code(path: Path) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    counted = {at for at, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith("#")}
    for node in ast.walk(tree(path)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or is_text:
            counted -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(counted)


def test_names_say_what_is_inside() -> None:
    empty = [short(path) for path in files("src", "tests", "bench") if {path.stem, path.parent.name} & SAY_NOTHING]
    assert not empty, empty
