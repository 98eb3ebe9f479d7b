"""Showing rows: what is learned stays readable with colours and without."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from etude.cli.data.files import parse_columns
from etude.cli.data.show import Choice, show
from etude.cli.main import main
from etude.cli.terminal import visible
from etude.data.read import read
from etude.data.render import Renderer
from etude.data.show import details, marked, pieces, sequences
from etude.errors import DataError, EtudeError
from etude.records import Context, Conversation, Document, Judged, Message, Origin, Preference, Prompt, Text
from tests.data.tokenizers_zoo import families

RENDERER = Renderer(families()["chatml"])
TWO = Choice(first=2)
KINDS = (Conversation, Preference, Judged, Text)


def printed(tmp_path: Path, content: str, choice: Choice = TWO, *, colours: bool = False) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    out = StringIO()
    console = Console(file=out, force_terminal=colours, color_system="standard" if colours else None, width=200)
    show(read(path, KINDS, max_bad_share=1.0), RENDERER, console, choice)
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
    assert visible("90\u202f% of\u00a04") == "90\u202f% of\u00a04", "our own numbers have such spaces"
    assert visible("a\x1b[2Jb\u202ec\n👩\u200d🚀") == "a\\x1b[2Jb\\x202ec\n👩\u200d🚀"


ROWS = "".join(f'{{"prompt": "question {number}", "completion": "answer {number}"}}\n' for number in range(1, 10))


def test_single_rows_and_samples(tmp_path: Path) -> None:
    text = printed(tmp_path, ROWS + '{"prompt": "x"}\n', Choice(lines=(7, 3)))
    assert text.index("answer 3") < text.index("answer 7")
    assert text.count("[+") == 3  # the legend's as well
    assert "all:" not in text
    drawn = [printed(tmp_path, ROWS, Choice(sample=3, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(text.count("[+answer") == 3 for text in drawn)
    with pytest.raises(DataError, match=r"line 10: no answer.*line 12: there is no such row"):
        printed(tmp_path, ROWS + '{"prompt": "x"}\n', Choice(lines=(10, 12)))


def test_numbers_of_rows_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "rows.jsonl", "--row", "3", "0"]) == 2
    assert "--row: must be at least 1, got 0" in capsys.readouterr().err
    assert main(["data", "show", "rows.jsonl", "--sample", "-2"]) == 2


def test_a_judged_answer_is_shown_once_with_its_judgement(tmp_path: Path) -> None:
    rows = (
        '{"prompt": "hi", "completion": "yes", "label": true}\n{"prompt": "hi", "completion": "no", "label": false}\n'
    )
    text = printed(tmp_path, rows)
    assert text.count("[+yes") == text.count("[+no") == 1
    assert text.index("judgement: True") < text.index("[+yes") < text.index("judgement: False")
    assert "all: 2 rows" in text


def test_prompts_weights_and_documents_say_what_they_are() -> None:
    here = Origin("a", 1)
    asked, answered = (Message("user", "hi"),), (Message("assistant", "yes"),)
    assert details(Prompt(asked, here, reference="no")) == ["a prompt to answer; reference: no"]
    (prompt,) = sequences(Prompt(asked, here), RENDERER)
    assert marked(RENDERER, prompt[1]).endswith("assistant\n")
    weighed = Message("assistant", "yes", weight=0.5, reasoning="so", reasoning_weight=0.0)
    assert details(Conversation((*asked, weighed), here)) == [
        "message 2 (assistant): weight 0.5; message 2 (assistant): weight of its reasoning 0"
    ]
    documents = (Document("a", relevant=True), Document("b", relevant=False))
    grounded = Conversation((*asked, *answered), here, context=Context("hi", documents))
    assert details(grounded) == ["2 documents, relevant: 1, distractors: 1"]


def test_column_arguments() -> None:
    assert parse_columns(["prompt=Say: {a=b}", "completion=c"]) == {"prompt": "Say: {a=b}", "completion": "c"}
    with pytest.raises(EtudeError, match="is not FIELD=TEMPLATE"):
        parse_columns(["prompt"])
