"""Evaluation end to end on a tiny model: real data files, real sampling, real scoring."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

from etude.comparison.verdict import compare
from etude.data.render import Renderer
from etude.errors import EtudeError, Problems
from etude.evaluation.harness import evaluate
from etude.evaluation.metrics.base import Metric
from etude.evaluation.metrics.exact_match import ExactMatch
from etude.evaluation.metrics.json_fields import JsonFields
from etude.evaluation.metrics.label import Label
from etude.evaluation.metrics.normalized_match import NormalizedMatch
from etude.evaluation.metrics.perplexity import Perplexity
from etude.evaluation.metrics.regex import Regex
from etude.evaluation.metrics.rouge_l import RougeL
from etude.evaluation.report import Report
from etude.evaluation.tasks import Task
from etude.records import Conversation, Message, Origin
from tests.toy import toy_loaded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from etude.models.loaded import LoadedModel

ANSWERS = {"my card has not arrived": "refund", "Classify the query": "0123", "the lazy dog": '{"intent": "refund"}'}


@dataclass(frozen=True)
class Named:
    """A subject with a name of its own, as a run is."""

    name: str
    model: LoadedModel

    def use(self) -> AbstractContextManager[LoadedModel]:
        return nullcontext(self.model)


@cache
def taught() -> LoadedModel:
    """The toy model after it has learned ANSWERS by heart."""
    model = toy_loaded(seed=1)
    renderer = Renderer(model.tokenizer)
    rows = [renderer.row(_conversation(prompt, answer)) for prompt, answer in ANSWERS.items()]
    model.module.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.zeros(())
        for row in rows:
            labels = [token if weight else -100 for token, weight in zip(row.tokens, row.weights, strict=True)]
            loss = loss + model.module(torch.tensor([row.tokens]), labels=torch.tensor([labels])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.requires_grad_(False)
    return model


def _conversation(prompt: str, answer: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", answer)), Origin("made", 1))


def write_rows(path: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    rows = [{"messages": [_message("user", prompt), _message("assistant", answer)]} for prompt, answer in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_model_that_knows_the_answers_is_better_than_one_that_does_not(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()) * 4)
    (tmp_path / "exact.task.yaml").write_text(
        "name: exact\ndata: items.jsonl\nmetric: exact_match\nmax_new_tokens: 20\n"
    )
    seen: list[tuple[int, int]] = []
    tuned = evaluate(
        Named("tuned", taught()), tmp_path / "exact.task.yaml", batch_rows=5,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    base = evaluate(toy_loaded(seed=1), tmp_path / "exact.task.yaml")
    assert tuned.summary["exact_match"] == tuned.score == 1.0
    assert tuned.summary["stop_rate"] == 1.0
    assert (tuned.subject, base.subject, tuned.task) == ("tuned", "toy", "exact")
    assert seen[-1] == (12, 12)
    first = tuned.items[0]
    assert (first.id, first.prompt, first.reference) == ("items.jsonl:1", "my card has not arrived", "refund")
    assert (first.answer, first.finish) == ("refund", "stop")
    assert first.answer_tokens == 1 + len(toy_loaded().tokenizer.encode("refund", add_special_tokens=False))
    assert first.prompt_tokens == tuned.summary["mean_prompt_tokens"] or tuned.summary["longest_prompt_tokens"] > 0
    low, high = tuned.intervals["exact_match"]
    assert 0.7 < low < high == 1.0
    assert compare(tuned, base).better
    assert data.exists()


def test_items_keep_their_group_and_the_time_they_took(tmp_path: Path) -> None:
    rows = [
        {"messages": [_message("user", prompt), _message("assistant", answer)], "group": f"talk {place // 2}"}
        for place, (prompt, answer) in enumerate([*ANSWERS.items(), *ANSWERS.items()])
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = evaluate(taught(), Task(name="t", data=str(tmp_path / "items.jsonl"), metric=ExactMatch()), batch_rows=2)
    assert [item.group for item in asked.items] == ["talk 0", "talk 0", "talk 1", "talk 1", "talk 2", "talk 2"]
    assert asked.seconds is not None
    assert all(item.seconds and 0 < item.seconds < asked.seconds for item in asked.items)
    scored = evaluate(taught(), Task(name="p", data=str(tmp_path / "items.jsonl"), metric=Perplexity()))
    assert [item.group for item in scored.items] == [item.group for item in asked.items]
    assert scored.seconds
    assert scored.items[0].seconds is None


def test_reports_pair_after_the_data_has_moved(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder / "inside").mkdir(parents=True)
        write_rows(tmp_path / folder / "inside" / "items.jsonl", list(ANSWERS.items()))
    reports = [
        evaluate(toy_loaded(), Task(name="t", data=str(tmp_path / place), metric=ExactMatch(), max_new_tokens=2))
        for place in ("here/inside/items.jsonl", "there/inside/items.jsonl", "here/inside", "there/inside")
    ]
    assert compare(reports[0], reports[1]).difference == 0
    assert compare(reports[2], reports[3]).difference == 0


def test_every_generating_metric_runs_and_its_report_survives_the_disk(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", [("the lazy dog", '{"intent": "refund"}'), ("Classify", '{"intent": "a"}')])
    metrics: list[Metric] = [
        ExactMatch(), NormalizedMatch(), Label(), JsonFields(fields=("intent",)), Regex(pattern="ref(und)"), RougeL(),
    ]  # fmt: skip
    for metric in metrics:
        task = Task(name="t", data=str(tmp_path / "items.jsonl"), metric=metric, max_new_tokens=24)
        report = evaluate(taught(), task)
        report.save(tmp_path / "report.jsonl")
        assert Report.load(tmp_path / "report.jsonl") == report
        assert report.metric in report.items[0].scores
        assert report.metric in report.intervals
        assert report.items[0].answer == '{"intent": "refund"}'
        if not isinstance(metric, Regex):
            assert report.items[0].scores[report.metric] == 1.0


def test_label_and_json_tasks_keep_their_tables(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", [("my card has not arrived", "refund"), ("Classify the query", "top up")])
    task = Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Label(), max_new_tokens=20)
    report = evaluate(taught(), task)
    assert report.tables["confusion"]["counts"] == [[1, 0, 0], [0, 0, 1]]
    assert report.summary["macro_f1"] == 0.5
    assert report.summary["unknown"] == 0.5
    write_rows(tmp_path / "items.jsonl", [("the lazy dog", '{"intent": "refund", "urgency": "low"}')] * 3)
    report = evaluate(
        taught(), Task(name="t", data=str(tmp_path / "items.jsonl"), metric=JsonFields(), max_new_tokens=20)
    )
    assert {row["field"]: row["accuracy"] for row in report.tables["fields"]} == {"intent": 1.0, "urgency": 0.0}
    assert report.summary["micro_f1"] == pytest.approx(2 / 3)
    assert report.intervals["micro_f1"] == pytest.approx((2 / 3, 2 / 3))


def test_perplexity_equals_the_plain_forward(tmp_path: Path) -> None:
    pairs = [("the lazy dog", "sleeps"), ("the lazy cat", "runs over the fox"), ("the lazy dog", "sleeps well")]
    write_rows(tmp_path / "items.jsonl", pairs)
    model = toy_loaded(seed=3)
    seen: list[tuple[int, int]] = []
    report = evaluate(
        model, Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Perplexity()),
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    total, count = 0.0, 0
    for pair, item in zip(pairs, report.items, strict=True):
        row = Renderer(model.tokenizer).row(_conversation(*pair))
        with torch.no_grad():
            logprobs = model.module(torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        nats = [-float(logprobs[i - 1, row.tokens[i]]) for i in range(1, len(row.tokens)) if row.weights[i]]
        assert item.scores["nats_per_token"] == pytest.approx(sum(nats) / len(nats), abs=1e-4)
        assert item.weight == len(nats)
        total, count = total + sum(nats), count + len(nats)
    assert report.score == pytest.approx(total / count, abs=1e-4)
    assert report.summary["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-3)
    assert report.summary["num_tokens"] == count
    assert not report.higher_is_better
    assert (report.items[0].answer, report.items[0].reference, seen[-1]) == (None, None, (3, 3))
    low, high = report.intervals["perplexity"]
    assert low <= report.summary["perplexity"] <= high


def test_perplexity_of_plain_text_finds_the_taught_model_better(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()) * 3)
    task = Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Perplexity())
    assert compare(evaluate(taught(), task), evaluate(toy_loaded(), task)).better
    (tmp_path / "plain.jsonl").write_text('{"text": "the quick brown fox"}\n{"text": "jumps over"}\n')
    report = evaluate(toy_loaded(), Task(name="t", data=str(tmp_path / "plain.jsonl"), metric=Perplexity()))
    assert report.items[0].prompt == "the quick brown fox"
    assert 1 < report.summary["perplexity"] < 10_000


def test_limits_take_the_first_items_and_the_smaller_one_counts(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()))
    task = Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Label(), max_new_tokens=2, limit=2)
    assert [item.id for item in evaluate(toy_loaded(), task).items] == ["items.jsonl:1", "items.jsonl:2"]
    report = evaluate(toy_loaded(), task, limit=1)
    assert len(report.items) == 1
    assert report.settings["limit"] == 1
    assert len(report.tables["labels"]) == 3
    with pytest.raises(EtudeError, match="limit"):
        evaluate(toy_loaded(), task, limit=0)
    with pytest.raises(EtudeError, match="batch_rows"):
        evaluate(toy_loaded(), task, batch_rows=0)


def test_prompts_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", [("fox " * 600, "a"), ("fox", "b"), ("dog " * 600, "c")])
    with pytest.raises(Problems) as caught:
        evaluate(toy_loaded(), Task(name="t", data=str(tmp_path / "items.jsonl"), metric=ExactMatch()))
    first, second = caught.value.problems
    assert "items.jsonl:1: " in first
    assert "tokens and 128 for the answer do not fit the model's context of 512" in first
    assert "items.jsonl:3: " in second
    with pytest.raises(Problems, match="do not fit the model's context of 512; split the text"):
        evaluate(toy_loaded(), Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Perplexity()))


def test_references_that_the_metric_cannot_use_are_all_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "items.jsonl", [("a", "refund"), ("b", '{"x": 1}'), ("c", "[1]")])
    with pytest.raises(Problems) as caught:
        evaluate(toy_loaded(), Task(name="t", data=str(path), metric=JsonFields()))
    assert [problem.split(": ")[0].rpartition("/")[2] for problem in caught.value.problems] == [
        "items.jsonl:1",
        "items.jsonl:3",
    ]
    with pytest.raises(Problems, match="is not among the labels"):
        evaluate(toy_loaded(), Task(name="t", data=str(path), metric=Label(labels=("refund", "other"))))


def test_rows_without_a_reference(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n' * 25)
    with pytest.raises(Problems) as caught:
        evaluate(toy_loaded(), Task(name="t", data=str(tmp_path / "items.jsonl"), metric=ExactMatch()))
    assert "has no reference answer" in caught.value.problems[0]
    assert caught.value.problems[-1] == "… and 5 more"
    found = Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Regex(pattern="(?:a|e)"), max_new_tokens=4)
    assert 0 <= evaluate(toy_loaded(), found).score <= 1


def test_one_bad_row_stops_a_task(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()) * 20)
    path.write_text(path.read_text() + '{"messages": 3}\n')
    with pytest.raises(Problems, match=r"items\.jsonl:61"):
        evaluate(toy_loaded(), Task(name="t", data=str(path), metric=ExactMatch()))


def test_a_model_gone_wrong_is_an_error_not_a_score(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()))
    model = toy_loaded(seed=9)
    with torch.no_grad():
        next(model.module.parameters()).fill_(float("nan"))
    with pytest.raises(EtudeError, match="nan"):
        evaluate(model, Task(name="t", data=str(tmp_path / "items.jsonl"), metric=Perplexity()))


def test_a_metric_may_be_a_function_in_a_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.jsonl", list(ANSWERS.items()))
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "def half(prompt, answer, reference): return 0.5 if answer == reference else 0.0\n"
        "def wild(prompt, answer, reference): return 3\n"
        "def dies(prompt, answer, reference): os._exit(1)\n"
    )
    path = tmp_path / "mine.task.yaml"
    path.write_text("name: mine\ndata: items.jsonl\nmetric: mine.py:half\nmax_new_tokens: 20\n")
    assert evaluate(taught(), path).summary["python"] == 0.5
    for name, said in {"wild": "gave 3", "dies": "its process ended"}.items():
        path.write_text(f"name: mine\ndata: items.jsonl\nmetric: mine.py:{name}\nmax_new_tokens: 2\n")
        with pytest.raises(Problems, match=said):
            evaluate(taught(), path)
    path.write_text("name: mine\ndata: items.jsonl\nmetric: mine.py:absent\n")
    with pytest.raises(EtudeError, match="absent"):
        evaluate(taught(), path)


@pytest.mark.realdata
def test_banking77_reads_as_a_label_task(tmp_path: Path, realdata: Path) -> None:
    (tmp_path / "banking77.task.yaml").write_text(
        f"name: banking77\ndata: {realdata / 'banking77' / 'test.csv'}\nmetric: label\n"
        "columns: {prompt: '{text}', completion: category}\nmax_new_tokens: 2\nlimit: 4\n"
    )
    report = evaluate(toy_loaded(), tmp_path / "banking77.task.yaml")
    assert len(report.items) == 4
    assert len(report.tables["labels"]) == 77
    assert report.summary["unknown"] == 1.0
