"""Showing rows: what is learned stays readable with colours and without."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from etude.cli.data.files import parse_columns
from etude.cli.data.show import show, visible
from etude.data.read import read
from etude.data.render import Renderer
from etude.data.show import marked, pieces
from etude.errors import EtudeError
from tests.data.tokenizers_zoo import families

RENDERER = Renderer(families()["chatml"])


def printed(tmp_path: Path, content: str, *, colours: bool = False) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    out = StringIO()
    console = Console(file=out, force_terminal=colours, color_system="standard" if colours else None, width=200)
    show(read(path, max_bad_share=1.0), RENDERER, console, num_rows=2)
    return out.getvalue()


def test_pieces_cover_the_row_and_name_each_run() -> None:
    from etude.records import Conversation, Message, Origin

    row = RENDERER.row(Conversation((Message("user", "hi"), Message("assistant", "yes")), Origin("a", 1)))
    found = list(pieces(RENDERER, row))
    assert found == [
        ("<|im_start|>", "control"), ("user\nhi", "context"), ("<|im_end|>", "control"), ("\n", "context"),
        ("<|im_start|>", "control"), ("assistant\n", "context"), ("yes<|im_end|>", "learned"), ("\n", "context"),
    ]  # fmt: skip
    assert marked(RENDERER, row).endswith("{<|im_start|>}assistant\n[+yes<|im_end|>+]\n")


def test_without_colours_the_marks_remain(tmp_path: Path) -> None:
    text = printed(tmp_path, '{"prompt": "[bold]hi", "completion": "yes"}\n{"prompt": "x"}\n')
    assert "detected: JSONL, prompt-completion" in text
    assert "[+learned+]" in text
    assert "user\n[bold]hi{<|im_end|>}" in text
    assert "[+yes<|im_end|>+]" in text
    assert "all: 1 rows" in text
    assert "rows.jsonl:2: no answer: completion is missing" in text
    assert "\x1b" not in text


def test_with_colours_there_are_no_marks(tmp_path: Path) -> None:
    text = printed(tmp_path, '{"prompt": "hi", "completion": "yes"}\n', colours=True)
    assert "\x1b[32myes<|im_end|>" in text
    assert "[+" not in text


def test_a_pair_is_shown_twice(tmp_path: Path) -> None:
    text = printed(tmp_path, '{"prompt": "hi", "chosen": "yes", "rejected": "no"}\n')
    assert text.index("(chosen)") < text.index("[+yes") < text.index("(rejected)") < text.index("[+no")


def test_the_data_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\x202ec\n"


def test_column_arguments() -> None:
    assert parse_columns(["prompt=Say: {a=b}", "completion=c"]) == {"prompt": "Say: {a=b}", "completion": "c"}
    with pytest.raises(EtudeError, match="is not FIELD=TEMPLATE"):
        parse_columns(["prompt"])
