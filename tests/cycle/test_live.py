"""A task asked during training, on the command line: scores and answers in the diary and on the page, exact resume."""

from __future__ import annotations

import json

import pytest

from tests.cycle.conftest import Desk, diary, lines_of, weights

SETTINGS = (
    "evaluation.live=toy.task.yaml", "evaluation.live_items=4", "training.keep_best_by=score",
    "training.heldout_every=3", "training.steps=9", "training.save_every=4",
)  # fmt: skip


def test_a_run_keeps_the_best_by_score_says_so_and_resumes_exactly(desk: Desk) -> None:
    done = desk.etude("train", "toy.yaml", *SETTINGS)
    assert done.code == 0, done.words
    assert "exact_match on 4 items" in done.words
    run = desk.folder / "runs/toy"
    looks = {line["step"]: line for line in diary(run) if "heldout_loss" in line}
    assert list(looks) == [0, 3, 6, 9]
    answers = lines_of(run / "answers.jsonl")
    assert [line["step"] for line in answers] == [0, 3, 6, 9]
    assert [one["reference"] for one in answers[0]["answers"]] == [one["reference"] for one in answers[3]["answers"]]
    for line in answers:
        scores = [one["score"] for one in line["answers"]]
        assert looks[line["step"]]["heldout_score"] == sum(scores) / len(scores)
        assert looks[line["step"]]["heldout_score_low"] <= looks[line["step"]]["heldout_score"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "4 items, answered over time" in page
    assert "The weights of the highest were kept." in page
    stopped = desk.etude("train", "toy.yaml", *SETTINGS, "output=runs/b", ETUDE_FAULT="loop.after_update:7=term")
    assert stopped.code == 75, stopped.words
    other = [*SETTINGS[:1], "evaluation.live_items=3", *SETTINGS[2:]]
    refused = desk.etude("train", "toy.yaml", *other, "output=runs/b", "--resume")
    assert (refused.code, "live task was" in refused.words) == (2, True), refused.words
    resumed = desk.etude("train", "toy.yaml", *SETTINGS, "output=runs/b", "--resume")
    assert resumed.code == 0, resumed.words
    assert weights(desk.folder / "runs/b") == weights(run)
    assert diary(desk.folder / "runs/b") == diary(run)
    assert lines_of(desk.folder / "runs/b/answers.jsonl") == answers


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["evaluation.live_rows=task", "evaluation.live=toy.task.yaml"], "its rows are those of the task 'toy'"),
        (["evaluation.live=none.task.yaml"], "no such file"),
        (["evaluation.live=toy.task.yaml", "data.holdout=0"], "needs held-out rows"),
        (["training.heldout_every=2"], "training.keep_best_by (command line): needs evaluation.live"),
        (["evaluation.live_items=3"], "nothing reads it without `live`"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(desk: Desk, settings: list[str], says: str) -> None:
    done = desk.etude("train", "toy.yaml", "training.keep_best_by=score", *settings)
    assert done.code == 2, done.words
    assert says in done.words
    assert not (desk.folder / "runs/toy").exists()


def test_a_metric_that_needs_columns_asks_its_own_rows(desk: Desk) -> None:
    rows = [{"prompt": f"money {n}", "choices": ["refund", "card"], "answer": 0} for n in range(4)]
    desk.write("choice.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    desk.write("choice.task.yaml", "name: c\ndata: choice.jsonl\ncolumns: {prompt: prompt}\nmetric: choice\n")
    live = ("evaluation.live=choice.task.yaml", "training.steps=2", "training.heldout_every=2")
    done = desk.etude("train", "toy.yaml", *live)
    assert done.code == 2
    assert "evaluation.live: the metric 'choice' needs more than a held-out row's prompt" in done.words
    done = desk.etude("train", "toy.yaml", *live, "evaluation.live_rows=task")
    assert done.code == 0, done.words
    assert "right_choice on 4 items" in done.words
