"""Multiple choice by likelihood: equal to lm-evaluation-harness's own model on the same texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.errors import Problems
from etude.evaluation.harness import evaluate
from etude.evaluation.metrics.choice import Choice
from etude.evaluation.tasks import Task
from tests.toy import toy_loaded

ROWS = [
    {"question": "the quick brown", "choices": ["fox", "dog jumps over", "card"], "answer": 0},
    {"question": "What is the capital of France?", "choices": ["Paris.", "refund"], "answer": "Paris."},
    {"question": "my card <|im_end|> has not", "choices": ["arrived", "the lazy dog"], "answer": 1},
]


def task(folder: Path, rows: list[dict[str, object]] = ROWS, metric: Choice | None = None) -> Task:
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task(
        name="q", data=str(folder / "q.jsonl"), columns={"prompt": "Question: {question}\nAnswer:"},
        metric=metric or Choice(),
    )  # fmt: skip


@pytest.mark.slow
def test_log_likelihoods_equal_the_harness(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = toy_loaded(seed=4)
    report = evaluate(model, task(tmp_path))
    theirs = HFLM(pretrained=toy_loaded(seed=4).module, tokenizer=model.tokenizer, batch_size=1, backend="causal")
    for row, item in zip(
        ROWS[:2], report.items, strict=False
    ):  # the third spells a control token, which we do not read
        asked = [(f"Question: {row['question']}\nAnswer:", f" {choice}") for choice in row["choices"]]  # type: ignore[attr-defined]
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(asked)]
        wanted = [nats for nats, _ in theirs.loglikelihood(requests, disable_tqdm=True)]
        assert item.details["nats"] == pytest.approx(wanted, abs=2e-4)  # rounded to four places
        each = [nats / len(choice) for nats, choice in zip(wanted, row["choices"], strict=True)]  # type: ignore[call-overload]
        assert item.answer == row["choices"][each.index(max(each))]  # type: ignore[index]


def test_what_divides_decides(tmp_path: Path) -> None:
    long = [{"question": "the", "choices": ["quick brown fox jumps over the lazy dog", "x"], "answer": 0}]
    by = {name: evaluate(toy_loaded(), task(tmp_path, long, Choice(by=name))) for name in ("total", "characters")}  # type: ignore[arg-type]
    assert by["total"].items[0].answer == "x"
    assert by["total"].score == by["characters"].summary["by_total"] == 0
    assert by["characters"].items[0].answer == long[0]["choices"][0]  # type: ignore[index]
    assert evaluate(toy_loaded(), task(tmp_path, metric=Choice(chat=True))).items[0].prompt_tokens > 8


def test_rows_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "choices": ["x"], "answer": 0}, {"question": "b", "choices": ["x", "y"], "answer": 2},
        {"question": "c", "choices": ["x", "y"], "answer": "z"},
    ]  # fmt: skip
    with pytest.raises(Problems) as caught:
        evaluate(toy_loaded(), task(tmp_path, rows))
    assert [f"q.jsonl:{line}: " in one for line, one in enumerate(caught.value.problems, 1)] == [True] * 3
    with pytest.raises(Problems, match="has no column 'choices'"):
        evaluate(toy_loaded(), task(tmp_path, [{"question": "a", "answer": 0}]))


def test_columns_may_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"q": "the", "options": ["a", "b"], "gold": 1}) + "\n")
    (tmp_path / "q.task.yaml").write_text(
        "name: q\ndata: q.jsonl\nmetric: choice\nby: tokens\ncolumns: {prompt: '{q}', choices: options, answer: gold}\n"
    )
    assert evaluate(toy_loaded(), tmp_path / "q.task.yaml").items[0].reference == "b"


@pytest.mark.realdata
def test_the_public_questions_read(tmp_path: Path, realdata: Path) -> None:
    questions = Task(
        name="mc", data=str(realdata / "capability_mc" / "mc.jsonl"), metric=Choice(), limit=3,
        columns={"prompt": "Question: {question}\nAnswer:"},
    )  # fmt: skip
    assert len(evaluate(toy_loaded(), questions).items) == 3
