"""What the architecture tests read: every Python file of the project, parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "etude"


def files(*folders: str) -> list[Path]:
    """The Python files below the named folders of the project, in order."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def short(path: Path) -> str:
    """The path as it is written in the project."""
    return str(path.relative_to(ROOT))
