"""Judges and code tests as metrics of a task, from the task file to the summary."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from etude.errors import EtudeError, Problems, RunError
from etude.evaluation.judging import open_judge, refuse_silence, written
from etude.evaluation.metrics.base import Answered, Metric
from etude.evaluation.tasks import load_task
from etude.models.load import load
from etude.sampling.rewards.options import JudgeOptions
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from tests.endpoints.chat_server import Told, chat_server
from tests.runs.made import make_run
from tests.toy import toy_module, toy_tokenizer

Messages = list[dict[str, str]]
PEOPLE = [
    {"prompt": "Legs of a cat?", "chosen": "four legs", "rejected": "nine"},
    {"prompt": "Legs of a bird?", "chosen": "two", "rejected": "four"},
    {"prompt": "Legs of a dog?", "chosen": "four", "rejected": "seven of them"},
    {"prompt": "Legs of a fish?", "chosen": "none", "rejected": "eight of them"},
]


def metric_of(folder: Path, **settings: object) -> Metric:
    (folder / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    (folder / "a.task.yaml").write_text(yaml.safe_dump({"name": "a", "data": "data.jsonl", **settings}))
    metric = load_task(folder / "a.task.yaml").metric
    assert isinstance(metric, Metric)
    return metric


def judged_by(url: str, folder: Path, **judge: object) -> Metric:
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PEOPLE))
    endpoint = {"url": url, "model": "toy", "tries": 1, "cache": "kept"}
    return metric_of(folder, metric="judge", judge={"endpoint": endpoint, **judge}, agreement="people.jsonl")


def between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]


def likes_four(messages: Messages) -> str:
    """Puts whatever says four first; A, where neither or both do."""
    asked = messages[-1]["content"]
    first, second = ("four" in between(asked, f"answer_{name}") for name in "AB")
    return f"Verdict: {'A' if first >= second else 'B'}"


def test_a_pairwise_judge_is_asked_both_ways_and_measured_on_peoples_pairs(tmp_path: Path) -> None:
    asked = [
        Answered("Legs of a dog?", "four", "five"), Answered("Legs?", "six", "four"), Answered("Legs?", "six", "five"),
    ]  # fmt: skip
    with chat_server(says=likes_four) as server:
        metric = judged_by(server.url, tmp_path, pairwise=True)
        assert metric.needs_reference
        scored = metric.scores(asked)
        summary = metric.summarize(scored, ["five", "four", "five"])
    assert [one.scores["judged"] for one in scored] == [1, 0, 0.5]
    assert [one.scores["decided_by_order"] for one in scored] == [0, 0, 1]
    assert scored[2].details == {"first": "better", "second": "worse"}
    # by people: right on the cat and the dog, wrong on the bird, no opinion on the fish
    assert summary.scores["agrees_with_people"] == (1 + 0 + 1 + 0.5) / 4
    assert summary.scores["ties_on_their_pairs"] == 0.25
    assert summary.scores["prefers_longer"] == (1 + 1 + 0 + 0.5) / 4
    low, high = summary.intervals["agrees_with_people"]
    assert low < 0.625 < high
    assert json.loads(json.dumps(metric.settings())) == metric.settings()
    assert str(tmp_path) not in json.dumps(metric.settings())


def test_a_grading_judge_and_replies_that_are_lost(tmp_path: Path) -> None:
    says: Callable[[Messages], str] = lambda m: f"Score: {10 if 'four' in between(m[-1]['content'], 'answer') else 1}"  # noqa: E731
    with chat_server(says=says) as server:
        metric = judged_by(server.url, tmp_path)
        server.script.append(Told(status=400, body=b"{}"))
        scored = metric.scores([Answered(f"Legs? {number}", "four", "") for number in range(12)])
        values = [one.scores["judged"] for one in scored]
        assert sum(map(math.isnan, values)) == 1
        summary = metric.summarize(scored, [""] * 12)
        assert (summary.scores["judged"], summary.scores["missing"]) == (1, 1)
        assert summary.scores["agrees_with_people"] == (1 + 0 + 1 + 0.5) / 4
    with (
        chat_server(says=lambda messages: "I like it") as server,
        pytest.raises(EtudeError, match=r"graded none of 2 answers .*cannot be read: 'I like it'"),
    ):
        judged_by(server.url, tmp_path).scores([Answered("Legs?", "four", "")] * 2)


def test_a_judge_grades_grounding_beside_the_words(tmp_path: Path) -> None:
    def says(messages: Messages) -> str:
        asked = messages[-1]["content"]
        return "Score: 1" if "nine" in between(asked, "answer") else "Score: 10"

    context = "The cat has four legs and sleeps all day."
    asked = [Answered("Legs?", "The cat has four legs.", context), Answered("Legs?", "The cat has nine.", context)]
    with chat_server(says=says) as server:
        judge = {"endpoint": {"url": server.url, "model": "toy"}}
        scored = metric_of(tmp_path, metric="grounded", judge=judge).scores(asked)
        assert "must rest on" in server.bodies[0]["messages"][0]["content"]
        assert context in between(server.bodies[0]["messages"][0]["content"], "reference")
    assert [one.scores["grounded_by_judge"] for one in scored] == [1, 0]
    plain = metric_of(tmp_path, metric="grounded").scores(asked)
    assert [one.scores["grounded"] for one in scored] == [one.scores["grounded"] for one in plain]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metric": "judge"}, "judge.model: needs one judge: a model or an endpoint"),
        ({"metric": "judge", "judge": {"model": "a", "rubrik": "b"}}, "judge.rubrik (line 4): unknown setting"),
        ({"metric": "grounded", "judge": {"model": "a", "pairwise": True}}, "judge.pairwise"),
        ({"metric": "code"}, "code.run_model_code: must be true"),
        ({"metric": "code", "code": {"run_model_code": True}, "seconds": 0}, "seconds (line 6): must be above 0"),
    ],
)
def test_what_is_wrong_with_a_judge_or_code_is_said(tmp_path: Path, settings: dict[str, object], says: str) -> None:
    with pytest.raises(Problems) as caught:
        metric_of(tmp_path, **settings)
    assert says in str(caught.value)


def test_code_is_run_only_where_the_task_allows_it(tmp_path: Path) -> None:
    metric = metric_of(tmp_path, metric="code", code={"run_model_code": True, "memory_mb": 256}, seconds=20.0)
    tests = json.dumps(["assert add(1, 2) == 3", "assert add(-1, 1) == 0"])
    assert metric.unusable([tests, "no tests"])[0][0] == 1
    scored = metric.scores(
        [
            Answered("p", "```python\ndef add(a, b):\n    return a + b\n```", tests),
            Answered("p", "def add(a, b):\n    return 3", tests),
            Answered("p", "import os\nos._exit(0)", tests),
        ]
    )
    assert [one.scores["tests_passed"] for one in scored] == [1, 0.5, 0]
    assert metric.summarize(scored, [tests] * 3).scores["passed_all"] == pytest.approx(1 / 3)
    assert "memory, time and file size are limited" in scored[0].details["confined"]


def test_a_judge_on_this_machine_is_asked_and_its_babble_is_no_grade(tmp_path: Path) -> None:
    toy_module().save_pretrained(tmp_path / "judge")
    toy_tokenizer().save_pretrained(tmp_path / "judge")
    options = JudgeOptions(model=str(tmp_path / "judge"), max_new_tokens=4)
    judge = open_judge(options)
    question = written("Legs of a cat?", "four", None)
    grades = judge([question])
    assert math.isnan(grades[0])
    assert "reply cannot be read: " in judge.failures[0]
    with pytest.raises(EtudeError, match="graded none of 1 answers"):
        refuse_silence(judge, grades)


def test_a_run_judges_with_what_it_has_learned(tmp_path: Path) -> None:
    toy_module().save_pretrained(tmp_path / "base")
    toy_tokenizer().save_pretrained(tmp_path / "base")
    run = make_run(tmp_path / "runs" / "judge")
    metric = metric_of(tmp_path, metric="judge", judge={"model": "runs/judge", "max_new_tokens": 6})
    assert metric.settings()["judge"]["model"] == f"judge {run.manifest().run_id}", "moved runs compare, others do not"
    with pytest.raises(RunError, match="has no weights yet"):
        metric.scores([Answered("Legs of a cat?", "four", "")])
    policy = attach(LoRA(rank=2), load(str(tmp_path / "base")))
    for weights in policy.trainable.values():
        torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(1))
    policy.save(run.adapter)

    def said(model: Path) -> list[str | None]:
        return open_judge(JudgeOptions(model=str(model), max_new_tokens=6)).ask(["Legs of a cat?"])

    assert said(run.path) == said(run.adapter) != said(tmp_path / "base")
    whole = make_run(tmp_path / "runs" / "whole")
    shutil.copytree(tmp_path / "base", whole.model)
    assert said(whole.path) == said(tmp_path / "base")
