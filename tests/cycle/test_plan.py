"""`etude plan` on the command line."""

from __future__ import annotations

import json
import re

from etude.runs.directory import open_run
from tests.cycle.conftest import Desk, Done


def said(done: Done, code: int = 0) -> str:
    assert done.code == code, done.words
    return done.words


def test_a_run_is_planned_without_training(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml"))
    for part in ("weights", "optimizer", "activations", "peak", "training.learning_rate=", "training.epochs=", "qlora"):
        assert part in words
    assert "fits" in words
    assert not (desk.folder / "runs").exists()


def test_what_does_not_fit_says_what_is_most_of_it(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml", "--memory", "1MB"), code=1)
    assert re.search(r"does not fit; most of it is \w+", words)
    assert "nothing fits" in words


def test_an_accelerator_and_a_price(desk: Desk) -> None:
    words = said(desk.etude("plan", "toy.yaml", "--hardware", "h100", "--price", "2.5"))
    assert "40% of 989 TFLOP/s" in words
    assert "at that price" in words
    done = desk.etude("plan", "toy.yaml", "--hardware", "h1000")
    assert (done.code, "known are t4" in done.words) == (2, True)


def test_a_run_that_cannot_fit_is_refused_before_anything_is_loaded(desk: Desk) -> None:
    desk.run_file(data={"tokens_per_batch": 4096}, training={"batch_rows": 500})
    config = json.loads((desk.folder / "base" / "config.json").read_text(encoding="utf-8"))
    desk.write("base/config.json", json.dumps({**config, "num_hidden_layers": 40, "hidden_size": 1 << 20}))
    done = desk.etude("train", "toy.yaml")
    assert done.code == 2
    assert re.search(r"needs about [\d.]+ GB of memory, and [\d.]+ GB are free; most of it .* is weights", done.error)
    assert "etude plan" in done.error
    assert not (desk.folder / "runs").exists()


def test_foreseen_and_taken_stand_in_the_report(desk: Desk) -> None:
    said(desk.etude("train", "toy.yaml", "planning.price_per_hour=3.5"))
    page = (desk.folder / "runs" / "toy" / "report.html").read_text(encoding="utf-8")
    assert "the speed of this machine was not known yet" in page
    said(desk.etude("plan", "toy.yaml"))
    said(desk.etude("train", "toy.yaml", "planning.price_per_hour=3.5", "output=runs/again"))
    page = (desk.folder / "runs" / "again" / "report.html").read_text(encoding="utf-8")
    for part in ("Foreseen and taken", "peak memory", "foreseen", "3.5 an hour"):
        assert part in page
    assert "was not known yet" not in page, "the plan measured it; a toy's updates tell nothing of it"
    manifest = open_run(desk.folder / "runs" / "again").manifest()
    assert manifest.actual is not None
    assert manifest.expected is not None
    assert manifest.expected.seconds is not None
    assert 0.5 < manifest.expected.peak_bytes / manifest.actual.peak_bytes < 2


def test_a_target_that_cannot_load_the_result_is_refused(desk: Desk) -> None:
    done = desk.etude("check", "toy.yaml", "technique=prompt", "target=ollama")
    assert (done.code, "ollama cannot load prompt" in done.error) == (2, True)
    words = said(desk.etude("train", "toy.yaml", "technique.rank=24", "target=vllm"))
    assert "--max-lora-rank 32" in words


def figures(words: str) -> dict[str, list[str]]:
    """The columns of each line of the table, by the line's name."""
    lines = (re.split(r"\s{2,}", line.strip()) for line in words.splitlines())
    return {name: columns for name, *columns in lines if columns}


def test_objectives_bring_terms_of_their_own(desk: Desk) -> None:
    rewards = [{"kind": "exact"}]
    desk.run_file(objective="grpo", rollouts={"group": 2, "max_new_tokens": 8, "rewards": rewards})
    words = said(desk.etude("plan", "toy.yaml"))
    assert "key-value cache" in words
    assert "writes up to 48 answers of up to 8 tokens, 64 at once" in words
    assert "what writing the answers takes" in words
    desk.run_file(objective={"kind": "distill", "teacher": "./base"})
    words = said(desk.etude("plan", "toy.yaml"))
    assert "teacher" in figures(words)
    assert "key-value cache" not in words
    done = desk.etude("plan", "toy.yaml", "objective.teacher=./nowhere")
    assert (done.code, "nowhere" in done.error) == (2, True)


STAGES = """
output: runs/staged
model: ./base
technique: {kind: lora, rank: 4}
evaluation: {retention: [], drift_rows: 0}
training: {steps: 2, batch_rows: 4}
stages:
  sft: {data: {train: train.jsonl, max_tokens: 64}}
  reward: {model: stage:sft, data: {train: pairs.jsonl, max_tokens: 64}, objective: reward}
  ppo:
    model: stage:sft
    data: {train: train.jsonl, max_tokens: 64}
    objective: ppo
    rollouts: {group: 2, max_new_tokens: 8, rewards: [{kind: model, run: stage:reward}]}
"""


def test_stages_are_planned_before_any_of_them_was_trained(desk: Desk) -> None:
    """The reward model of the last one stands on the policy's weights, so its adapter alone counts."""
    pairs = ({"prompt": f"How {n}?", "chosen": f"So and so {n}", "rejected": "No"} for n in range(8))
    desk.write("pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs))
    desk.write("staged.yaml", STAGES)
    words = said(desk.etude("plan", "staged.yaml"))
    sft, reward, ppo = words.split("\nstage ")
    assert sft.startswith("stage sft")
    for part in (reward, ppo):
        assert "desk/base: " in part, "what it starts from will have the base's sizes"
    assert "answering" not in sft + reward
    assert {"reward model", "key-value cache"} <= figures(ppo).keys()
    assert not (desk.folder / "runs").exists()
