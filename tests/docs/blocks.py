"""The fenced examples of the README and the docs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced example."""

    place: str
    """Page and line."""
    text: str


def blocks(language: str) -> list[Block]:
    """Every example in that language, in the order of the pages."""
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(content):
            if match["language"] == language:
                line = content.count("\n", 0, match.start()) + 1
                found.append(Block(place=f"{page.relative_to(ROOT)}:{line}", text=match["text"]))
    return found
