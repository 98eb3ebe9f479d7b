"""Reinforcement learning and several stages on the command line."""

from __future__ import annotations

import json

import pytest
import yaml
from markupsafe import escape

from etude.comparison.verdict import compare
from etude.config import load_run_file
from etude.cycle.subjects import InMemory, make_ready, open_subject
from etude.evaluation.report import Report
from etude.models.load import load
from etude.models.rewarding import rewards_of
from etude.pages.wording import p_value, visible
from etude.runs.directory import open_run
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.techniques.qlora import QLoRA
from etude.techniques.sparse import Sparse
from tests.cycle.conftest import Desk, as_jsonl, diary, lines_of, weights

REWARDS = """def even(prompt, answer, reference):
    return sum(len(word) % 2 == 0 for word in answer.split()) / 4
"""
PAIRS = [{"prompt": f"what is {i}?", "chosen": f"the fox {i % 3}", "rejected": f"dog {i % 5}"} for i in range(24)]


def online(desk: Desk, kind: str, **rollouts: object) -> None:
    desk.write("mine.py", REWARDS)
    desk.run_file(
        objective=kind,
        technique={"dropout": 0.0},
        training={"steps": 6, "batch_rows": 4, "heldout_every": 3, "save_every": 1},
        rollouts={
            "group": 2,
            "max_new_tokens": 6,
            "updates": 2,
            "rewards": [{"kind": "python", "function": "mine.py:even"}],
            **rollouts,
        },
    )


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_run_that_was_killed_goes_on_exactly(desk: Desk, kind: str) -> None:
    online(desk, kind)
    done = desk.etude("train", "toy.yaml", "output=runs/whole")
    assert done.code == 0, done.words
    assert lines_of(desk.folder / "runs" / "whole" / "metrics.jsonl")[-1]["step"] == 6
    killed = desk.etude("train", "toy.yaml", ETUDE_FAULT="loop.after_update:3=kill")
    assert killed.code != 0
    done = desk.etude("train", "toy.yaml", "--resume")
    assert done.code == 0, done.words
    whole, again = desk.folder / "runs" / "whole", desk.folder / "runs" / "toy"
    assert weights(whole) == weights(again)
    assert diary(whole) == diary(again)
    assert lines_of(whole / "rollouts.jsonl") == lines_of(again / "rollouts.jsonl")


def test_what_rewards_came_to_is_reported(desk: Desk) -> None:
    online(desk, "grpo")
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    assert "reward on reward went from" in done.words
    (line,) = [line for line in done.words.splitlines() if "reward on reward" in line]
    assert "points" not in line, "a reward is no share of anything"
    page = (desk.folder / "runs" / "toy" / "report.html").read_text(encoding="utf-8")
    for name in ("reward", "answer tokens", "dead groups", "surprise", "reward, held out", "win rate"):
        assert name in page


def test_rewards_must_be_said_and_groups_be_whole(desk: Desk) -> None:
    desk.run_file(objective="grpo", training={"batch_rows": 5}, rollouts={"rewards": []})
    done = desk.etude("check", "toy.yaml")
    assert done.code == 2
    assert "rollouts.rewards" in done.error
    assert "must be a multiple of rollouts.group (8)" in done.error
    desk.run_file(objective="grpo", rollouts={"updates": 2, "rewards": [{"kind": "exact"}]})
    done = desk.etude("check", "toy.yaml")
    assert "must be 0 with rollouts.updates above 1" in done.error
    desk.run_file(objective="grpo", rollouts={"rewards": [{"kind": "model"}, {"kind": "regex", "pattern": "("}]})
    done = desk.etude("check", "toy.yaml")
    assert "rollouts.rewards[0].run" in done.error
    assert "rollouts.rewards[1].pattern" in done.error


def stages(desk: Desk, **ppo: object) -> None:
    desk.write("pairs.jsonl", as_jsonl(PAIRS))
    desk.write("prompts.jsonl", as_jsonl([{"prompt": f"what is {i}?"} for i in range(24)]))
    content = {
        "output": "runs/rlhf",
        "model": "./base",
        "training": {"steps": 3, "batch_rows": 4},
        "stages": {
            "sft": {"data": {"train": "train.jsonl"}},
            "reward": {"model": "stage:sft", "data": {"train": "pairs.jsonl"}, "objective": "reward"},
            "ppo": {
                "model": "stage:sft",
                "data": {"train": "prompts.jsonl"},
                "objective": "ppo",
                "rollouts": {"group": 2, "max_new_tokens": 5, "rewards": [{"kind": "model", "run": "stage:reward"}]},
                **ppo,
            },
        },
    }
    desk.write("rlhf.yaml", yaml.safe_dump(content, sort_keys=False))


def test_three_stages_are_one_command(desk: Desk) -> None:
    stages(desk)
    killed = desk.etude("train", "rlhf.yaml", ETUDE_FAULT="loop.after_update:5=kill")
    assert killed.code != 0
    done = desk.etude("train", "rlhf.yaml", "--resume")
    assert done.code == 0, done.words
    assert "stage 1 of 3, sft: finished" in done.words
    runs = {name: open_run(desk.folder / "runs" / "rlhf" / name) for name in ("sft", "reward", "ppo")}
    assert all(run.state == "finished" for run in runs.values())
    parent = runs["sft"].manifest().run_id
    assert [runs[name].manifest().parent for name in ("sft", "reward", "ppo")] == [None, parent, parent]
    assert (runs["reward"].path / "adapter" / "value_head.safetensors").exists()
    again = desk.etude("train", "rlhf.yaml", "--resume")
    assert again.words.count("finished in") == 3


def test_stages_are_shown_side_by_side(desk: Desk) -> None:
    stages(desk)
    held = ["reward.data.holdout=0.25", "ppo.data.holdout=0.25"]
    done = desk.etude("train", "rlhf.yaml", *held)
    assert done.code == 0, done.words
    folder = desk.folder / "runs" / "rlhf"
    page = (folder / "report.html").read_text(encoding="utf-8")
    reports = folder / "ppo" / "reports"
    places = (folder / "before.jsonl", reports / "reward.base.jsonl", reports / "reward.jsonl")
    before, by_sft, by_ppo = (Report.load(place) for place in places)
    assert [item.id for item in before.items] == [item.id for item in by_sft.items]
    for report in (before, by_sft, by_ppo):
        answer = report.items[0].answer or ""
        assert (escape(visible(answer)) if answer.strip() else "(only white space)") in page
    total = compare(by_ppo, before)
    assert f"all stages together: {total.sentence()}" in done.words
    assert "all together" in page
    assert f"{total.method} {p_value(total.p_value)}" in page
    pairs = Report.load(folder / "reward/reports/heldout_pairs.jsonl")
    assert len(pairs.items) == 6
    assert set(pairs.summary) >= {"preference", "longer_first", "calibration_error"}
    assert "better answer put first" in page
    assert "reward against distance" in page
    assert page.count('state-finished"') == 3
    again = desk.etude("train", "rlhf.yaml", *held, "--resume")
    assert "asking ./base, as it was before all stages" not in again.words
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_a_torn_report_of_the_first_model_is_made_again(desk: Desk) -> None:
    stages(desk)
    assert desk.etude("train", "rlhf.yaml", "ppo.data.holdout=0.25").code == 0
    place = desk.folder / "runs" / "rlhf" / "before.jsonl"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    assert desk.etude("train", "rlhf.yaml", "ppo.data.holdout=0.25", "--resume").code == 0
    assert place.read_bytes() == whole


def test_a_reward_model_stands_on_the_policys_weights(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stages(desk)
    assert desk.etude("train", "rlhf.yaml", "ppo.training.steps=1").code == 0
    monkeypatch.chdir(desk.folder)
    options = load_run_file(desk.folder / "runs" / "rlhf" / "ppo" / "run.yaml", check_files=False).model
    make_ready(options)
    policy = attach(LoRA(), load(options))
    reward = str(desk.folder / "runs" / "rlhf" / "reward")
    own = open_subject(reward)
    for technique, shares in ((LoRA(), True), (Full(), False), (Sparse(), False), (QLoRA(), False)):
        shared = open_subject(reward, known=InMemory(policy.model, technique))
        with own.use() as alone, shared.use() as model:
            assert rewards_of(model, [[5, 9, 12], [7, 8]]) == rewards_of(alone, [[5, 9, 12], [7, 8]])
            embeddings = [one.module.get_input_embeddings().weight for one in (model, policy.model)]
            assert (embeddings[0] is embeddings[1]) is shares


def test_all_stages_are_checked_before_the_first_one_trains(desk: Desk) -> None:
    stages(desk, training={"stepz": 3})
    done = desk.etude("train", "rlhf.yaml")
    assert (done.code, "stage ppo" in done.error, "did you mean 'steps'?" in done.error) == (2, True, True)
    assert not (desk.folder / "runs").exists()
    stages(desk, data={"train": "promts.jsonl"})
    done = desk.etude("check", "rlhf.yaml")
    assert "did you mean 'prompts.jsonl'?" in done.error
    stages(desk, model="stage:reword")
    done = desk.etude("check", "rlhf.yaml")
    assert "'stage:reword' is no earlier stage (there are: sft, reward)" in done.error
    stages(desk)
    done = desk.etude("check", "rlhf.yaml", "pppo.training.steps=1")
    assert "neither a stage nor a section" in done.error
    done = desk.etude("check", "rlhf.yaml", "ppo.training.steps=7", "training.seed=3")
    assert done.code == 0
    assert "7 steps" in done.words


def test_a_reward_model_is_measured_on_pairs(desk: Desk) -> None:
    desk.write("pairs.jsonl", as_jsonl(PAIRS))
    desk.write("pairs.task.yaml", "name: pairs\ndata: pairs.jsonl\nmetric: preference\n")
    desk.run_file(
        data={"train": "pairs.jsonl"}, objective="reward", training={"steps": 12, "learning_rate": 1e-2},
        evaluation={"tasks": ["pairs.task.yaml"]},
    )  # fmt: skip
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    header = json.loads((desk.folder / "runs/toy/reports/pairs.jsonl").read_text().splitlines()[0])["report"]
    assert header["summary"]["preference"] > 0.9
    assert 0 <= header["summary"]["calibration_error"] < 0.5
    assert 0 <= header["summary"]["longer_first"] <= 1
    assert sum(part["count"] for part in header["tables"]["calibration"]) == 24
    asked = desk.etude("evaluate", "runs/toy", "pairs.task.yaml")
    assert asked.code == 0, asked.words


def test_a_student_learns_from_a_teacher_on_answers_of_its_own(desk: Desk) -> None:
    desk.run_file(
        objective={"kind": "distill", "teacher": "./base", "on_policy": True, "mix": 1.0},
        training={"steps": 4, "batch_rows": 4}, rollouts={"group": 2, "max_new_tokens": 6},
    )  # fmt: skip
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    lines = [line for line in lines_of(desk.folder / "runs/toy/metrics.jsonl") if "divergence" in line]
    assert abs(lines[0]["divergence"]) < 1e-5, "the student begins as its teacher"
    assert "reward" not in lines[0]
    desk.run_file(objective={"kind": "distill", "teacher": "./bass"})
    assert "did you mean 'base'?" in desk.etude("check", "toy.yaml").error


def test_a_run_that_learns_nothing_stops_and_says_so(desk: Desk) -> None:
    desk.write("mine.py", "def same(prompt, answer, reference):\n    return 1.0\n")
    desk.run_file(
        objective="grpo", training={"steps": 40, "batch_rows": 4, "heldout_every": 40},
        rollouts={"group": 2, "max_new_tokens": 4, "rewards": [{"kind": "python", "function": "mine.py:same"}]},
    )  # fmt: skip
    done = desk.etude("train", "toy.yaml")
    assert "stopped after update 20: in 20 updates in a row over 80% of the groups had equal rewards" in done.words
    run = open_run(desk.folder / "runs" / "toy")
    assert run.state in ("finished", "failed")
    assert len([line for line in lines_of(run.metrics_file) if "loss" in line]) == 20
