"""Whole runs whose answers a server writes: a good one is heard of nothing, one with stale weights is told on."""

from __future__ import annotations

from functools import partial

import pytest

from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from tests.cycle.conftest import Desk, lines_of
from tests.sampling.vllm_server import vllm_server

REWARDS = """def even(prompt, answer, reference):
    return sum(len(word) % 2 == 0 for word in answer.split()) / 4
"""


def base_of(desk: Desk) -> LoadedModel:
    return load(ModelOptions(name=str(desk.folder / "base"), precision="float32"))


def served(desk: Desk, url: str, *, kind: str = "lora", **settings: object) -> None:
    desk.write("mine.py", REWARDS)
    technique = {"dropout": 0.0, **settings} if kind == "lora" else kind
    desk.run_file(
        model="./base",
        objective="grpo",
        technique=technique,
        training={"steps": 3, "batch_rows": 8, "heldout_every": 3, "learning_rate": 2e-2},
        evaluation={"base": False, "tasks": []},
        rollouts={
            "group": 4,
            "max_new_tokens": 8,
            "rewards": [{"kind": "python", "function": "mine.py:even"}],
            "vllm": {"url": url},
        },
    )


@pytest.mark.parametrize("stale", [False, True])
def test_stale_weights_in_the_server_raise_the_alarm(desk: Desk, stale: bool) -> None:
    with vllm_server(partial(base_of, desk), stale=stale) as server:
        served(desk, server.url)
        done = desk.etude("train", "toy.yaml", "model.precision=float32")
    assert done.code == 0, done.words
    figures = [line for line in lines_of(desk.folder / "runs/toy/metrics.jsonl") if "mismatch" in line]
    assert figures[0]["mismatch"] < 1e-4
    assert max(line["ratio_off"] for line in figures) < 1e-5
    assert [("alarm: sampler and scoring differ" in done.words), figures[-1]["mismatch"] > 1e-3] == [stale, stale]
    if not stale:
        assert max(line["mismatch"] for line in figures) < 1e-4
    assert len(set(server.loaded)) == 4, "the policy before each of three updates, and at the end"
    written = [line for line in lines_of(desk.folder / "runs/toy/rollouts.jsonl") if "rollout" in line]
    assert len(server.bodies) > len(written) == 6, "held-out prompts are answered there too"


def test_what_no_server_could_answer_by_is_refused_before_training(desk: Desk) -> None:
    url = "http://127.0.0.1:1"
    served(desk, f"{url}/v1", kind="full")
    assert "technique.kind (line" in (said := desk.etude("check", "toy.yaml").error)
    assert "with rollouts.vllm: makes no adapter that vllm could load; lora does" in said
    served(desk, url, dora=True)
    assert "rollouts.vllm.url (line" in desk.etude("check", "toy.yaml").error
    served(desk, f"{url}/v1", dora=True, rank_pattern={"q_proj": 2})
    said = desk.etude("check", "toy.yaml").error
    assert "with rollouts.vllm: vllm loads no DoRA adapters" in said
    assert "technique.rank_pattern (line" in said
    served(desk, f"{url}/v1")
    assert "SFT learns from no answers of its own" in desk.etude("check", "toy.yaml", "objective=sft").error
    done = desk.etude("train", "toy.yaml", "rollouts.vllm.tries=1")
    assert (done.code, "cannot be reached" in done.error) == (2, True), done.words
