"""Rows with documents to answer from: how they are recognised, written down, shown to the model and shortened."""

from __future__ import annotations

import pytest

from etude.data.check import RowError
from etude.data.context import context_of, request_text
from etude.data.convert import convert, to_prompt
from etude.data.detect import detect
from etude.data.length import shorten
from etude.data.render import Renderer
from etude.data.rows import RawRow
from etude.errors import EtudeError
from etude.records import Context, Conversation, Document, Origin
from tests.data.tokenizers_zoo import families

HERE = Origin("rows.jsonl", 1)
RENDERER = Renderer(families()["chatml"])
PAPER = {"title": "Camels", "text": "Camels store fat in their humps.", "relevant": True}
NOISE = {"title": "Ducks", "text": "Ducks lay eggs. " * 20, "relevant": False}
ROW = {"question": "What do humps hold?", "documents": [NOISE, PAPER], "answer": "Fat."}


def conversation(row: dict[str, object], **columns: str) -> Conversation:
    raw = RawRow(HERE, row, "")
    (made,) = convert(raw, detect([raw], columns=columns, where="rows"))
    assert isinstance(made, Conversation)
    return made


def test_the_layout_is_recognised_and_becomes_one_request() -> None:
    raw = RawRow(HERE, ROW, "")
    layout = detect([raw], columns={}, where="rows")
    assert str(layout) == "grounded (a question and documents to answer it from): question, documents, answer"
    made = conversation(ROW)
    assert [message.role for message in made.messages] == ["user", "assistant"]
    assert made.context is not None
    text = made.messages[0].text
    assert text == request_text(made.context)
    assert text.startswith("Answer from the documents below.\n\n[1] Ducks\nDucks lay eggs.")
    assert text.endswith("[2] Camels\nCamels store fat in their humps.\n\nQuestion: What do humps hold?")
    assert to_prompt(made).reference == "Fat."


@pytest.mark.parametrize(
    "row",
    [
        {"query": "q?", "contexts": ["one", "two"], "response": "a", "relevant": [1]},
        {"question": "q?", "passages": [{"passage": "one"}, {"passage": "two", "is_selected": 1}], "answer": "a"},
        {"question": "q?", "context": ["one", "two"], "answer": "a", "relevant": [False, True]},
        {"question": "q?", "docs": [{"text": "one"}, {"text": "two", "title": "B"}], "answer": "a", "relevant": "B"},
    ],
)  # fmt: skip
def test_documents_and_marks_as_files_write_them(row: dict[str, object]) -> None:
    context = conversation(row).context
    assert context is not None
    assert [document.text for document in context.documents] == ["one", "two"]
    assert [bool(document.relevant) for document in context.documents] == [False, True]


def test_columns_of_other_names_are_mapped() -> None:
    made = conversation(
        {"QUESTION": "q?", "CONTEXTS": ["one"], "LONG_ANSWER": "a"},
        question="QUESTION", documents="CONTEXTS", answer="LONG_ANSWER",
    )  # fmt: skip
    assert made.context == Context("q?", (Document("one"),))


@pytest.mark.parametrize(
    ("documents", "relevant", "problem"),
    [
        ([], None, "empty"),
        (["a", " "], None, "document 2 is empty"),
        ([{"title": "a"}], None, "no text"),
        ([7], None, "a number"),
        (["a", "b"], [True], "1 marks for 2 documents"),
        (["a", "b"], [2], "names 2"),
        ([{"text": "a", "relevant": "yes"}], None, "true or false"),
    ],
)
def test_what_is_wrong_with_documents_is_said(documents: object, relevant: object, problem: str) -> None:
    with pytest.raises(RowError, match=problem):
        context_of("q?", documents, relevant)


def test_rows_without_an_answer_are_refused_by_the_layout() -> None:
    raw = RawRow(HERE, {"question": "q?", "documents": ["a"]}, "")
    with pytest.raises(EtudeError, match="no known layout"):
        detect([raw], columns={}, where="rows")


def test_long_rows_lose_distractors_and_never_what_the_answer_rests_on() -> None:
    record = conversation({**ROW, "documents": [NOISE, PAPER, {**NOISE, "text": "Geese."}]})
    whole = len(RENDERER.row(record).tokens)
    shorter = shorten(record, RENDERER, whole - 10)
    assert isinstance(shorter, Conversation)
    assert shorter.context is not None
    assert [document.title for document in shorter.context.documents] == ["Camels", "Ducks"]
    assert "Geese" in shorter.messages[0].text
    assert "[2]" in shorter.messages[0].text
    assert shorten(record, RENDERER, 40) is None
    unmarked = conversation({**ROW, "documents": ["word " * 200]})
    cut = shorten(unmarked, RENDERER, 120)
    assert cut is not None
    assert len(RENDERER.row(cut).tokens) <= 120
