"""Items of context use: facts stand where the row says, and a model that reads everything gets all of them right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from etude.cli.main import main
from etude.errors import EtudeError
from etude.evaluation.context_items import SHARES, ContextOptions, context_rows
from etude.evaluation.harness import check_rows
from etude.evaluation.metrics.base import Metric
from etude.evaluation.metrics.context import ContextUse
from etude.evaluation.tasks import load_task

TEXTS = [" ".join(f"word{n}{k}" for k in range(40)) for n in range(30)]
OPTIONS = ContextOptions(words=(200, 600), each=2, others=3)


def reader(prompt: str) -> str:
    """Finds the one sentence about what is asked."""
    documents, _, question = prompt.partition("Question: ")
    asked = re.search(r"the (\w+)(?: insured)?(?: carry)?\?", question)
    assert asked
    sentence = next((line for line in documents.split("\n") if f" {asked[1]} " in f" {line} "), "")
    return (re.search(r"\d{5}", sentence) or ["not stated"])[0]


def references(rows: list[dict[str, object]]) -> list[str]:
    return [json.dumps({name: row[name] for name in ContextUse.reads}) for row in rows]


def test_a_careful_reader_is_right_everywhere_and_others_where_they_read() -> None:
    rows, metric = context_rows(TEXTS, OPTIONS), ContextUse()
    assert len(rows) == 2 * 2 * (len(SHARES) + 2) * 2
    assert rows == context_rows(TEXTS, OPTIONS) != context_rows(TEXTS, ContextOptions(words=(200, 600), seed=1))
    held = references(rows)
    assert metric.unusable(held) == []
    scored = [metric.score(reader(str(row["prompt"])), one) for row, one in zip(rows, held, strict=True)]
    assert all(one.scores["right"] == 1 for one in scored)


def test_the_fact_stands_where_the_row_says() -> None:
    for row in context_rows(TEXTS, OPTIONS):
        documents = str(row["prompt"]).partition("\n\nQuestion")[0].split("\n\n")[1:]
        numbers = [place for place, one in enumerate(documents) if str(row["fact"]) in one]
        if row["place"] is None:
            assert numbers == []
        else:
            assert numbers[0] / (len(documents) - 1) == pytest.approx(float(str(row["place"])), abs=0.25)
        assert all(other in str(row["prompt"]) for other in row["others"])  # type: ignore[attr-defined]
        plain = sum(len(one.split()) for one in documents if one.startswith("word"))
        assert plain == row["words"]


def test_scores_by_place_and_abstention() -> None:
    rows, metric = context_rows(TEXTS, OPTIONS), ContextUse()
    held = references(rows)
    # right at the start alone; never abstains; tells another fact where there is one
    answers = [
        row["fact"] if row["place"] == 0 else (row["others"] or ["not sure"])[0]  # type: ignore[index]
        for row in rows
    ]
    scored = [metric.score(str(answer), one) for answer, one in zip(answers, held, strict=True)]
    summary = metric.summarize(scored, held)
    assert summary.scores["right_at_0_percent"] == 1
    assert summary.scores["right_at_50_percent"] == 0
    assert summary.scores["right_where_nothing_is_stated"] == 0
    assert summary.scores["abstained_without_need"] == 0
    assert summary.scores["gave_another_fact"] > 0.3
    low, high = summary.intervals["right_at_0_percent"]
    assert 0.5 < low < high == 1
    assert [one["part"] for one in summary.tables["context"]][:5] == [
        f"right_at_{100 * share:.0f}_percent" for share in SHARES
    ]
    silent = metric.summarize([metric.score("Not stated.", one) for one in held], held)
    assert silent.scores["right_where_nothing_is_stated"] == silent.scores["abstained_without_need"] == 1


def test_the_command_makes_a_task_that_can_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "context"
    assert main(["data", "context", "-o", str(folder), "--each", "1", "--words", "60"]) == 0
    assert "14 items, 4 of them on facts that no document states" in capsys.readouterr().out
    task = load_task(folder / "context.task.yaml")
    assert isinstance(task.metric, Metric)
    check_rows(task)
    assert main(["data", "context", "-o", str(folder)]) == 2
    assert main(["data", "context", "-o", str(tmp_path / "b"), "--each", "0"]) == 2
    with pytest.raises(EtudeError, match="hold 1,200 words, and the longest context takes 5,000"):
        context_rows(TEXTS, ContextOptions(words=(5_000,)))
