"""What a rendered row looks like to a person: runs of learned, read and control tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from etude.data.render import RenderedRow, Renderer

Piece = tuple[str, str]
"""(text, learned | context | control); an end token that is learned counts as learned."""


def pieces(renderer: Renderer, row: RenderedRow) -> Iterator[Piece]:
    """The row's text in runs of one kind, each control token that is not learned by itself."""
    kinds = [kind(weight, control) for weight, control in zip(row.weights, row.control, strict=True)]
    for (name, _), run in groupby(enumerate(kinds), key=lambda pair: (pair[1], pair[1] == "control" and pair[0])):
        places = [at for at, _ in run]
        yield renderer.plain.decode([row.tokens[at] for at in places]), name


def kind(weight: float, control: bool) -> str:
    """learned, control or context."""
    return "learned" if weight > 0 else "control" if control else "context"


def marked(renderer: Renderer, row: RenderedRow) -> str:
    """The row with `[+learned+]` and `{control}` marked, for where there are no colours."""
    signs = {"learned": "[+{}+]", "control": "{{{}}}", "context": "{}"}
    return "".join(signs[name].format(text) for text, name in pieces(renderer, row))
