"""Files and functions that fit on a screen or a few, under names that say what is in them."""

from __future__ import annotations

import ast

from tests.architecture.source import files, short, tree

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
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


def test_names_say_what_is_inside() -> None:
    empty = [short(path) for path in files("src", "tests", "bench") if {path.stem, path.parent.name} & SAY_NOTHING]
    assert not empty, empty
