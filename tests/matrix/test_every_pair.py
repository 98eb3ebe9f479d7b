"""Every technique with every objective, from a run file to a finished run that is opened again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from etude.config import load_run_file
from etude.cycle.fine_tune import fine_tune
from etude.cycle.subjects import open_subject
from etude.objectives import OBJECTIVES
from etude.techniques import TECHNIQUES
from tests.techniques.every import scores
from tests.toy import toy_module, toy_tokenizer

PAIRS_OF_ANSWERS = [
    {"prompt": f"what is {i}?", "chosen": f"the quick brown fox {i % 3}", "rejected": f"dog {i % 5}"} for i in range(24)
]
ANSWERS = [{"prompt": f"what is {i}?", "completion": f"the quick brown fox {i % 3}"} for i in range(24)]
ROWS = {
    **dict.fromkeys(("dpo", "orpo", "simpo", "cpo", "reward"), PAIRS_OF_ANSWERS),
    **dict.fromkeys(("sft", "grpo", "ppo", "distill"), ANSWERS),
    "kto": [{"prompt": f"is it {i}?", "completion": f"the dog {i % 3}", "label": i % 2 == 0} for i in range(24)],
}
"""What each objective learns from."""
SETTINGS = {
    "freeze": {"last": 1},
    "lora": {"rank": 4},
    "qlora": {"rank": 4},
    "adapter": {"size": 8},
    "prompt": {"tokens": 4},
    "p-tuning": {"tokens": 4, "hidden": 16},
    "prefix": {"tokens": 4},
    "sparse": {"share": 0.05, "samples": 4},
    "peft": {"config": {"peft_type": "LOHA", "r": 4, "target_modules": ["q_proj", "down_proj"]}},
}
EVERY_TECHNIQUE = ("sft", "dpo")
"""Objectives that meet every technique in `make test`: one of single rows, one of pairs with a reference."""
EVERY_OBJECTIVE = ("lora", "full")
"""Techniques that meet every objective there: beside the base's weights, and in their place. The rest is slow."""
PAIRS = [
    pytest.param(
        technique,
        objective,
        marks=[] if objective in EVERY_TECHNIQUE or technique in EVERY_OBJECTIVE else [pytest.mark.slow],
    )
    for technique in TECHNIQUES
    for objective in OBJECTIVES
]


@pytest.mark.parametrize(("technique", "objective"), PAIRS)
def test_it_trains_and_is_opened_again(technique: str, objective: str, tmp_path: Path) -> None:
    toy_module().save_pretrained(tmp_path / "base")
    toy_tokenizer().save_pretrained(tmp_path / "base")
    rows = ROWS[objective]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    content = {
        "model": {"name": str(tmp_path / "base"), "precision": "float32"},
        "data": {"train": "rows.jsonl", "holdout": 0.2},
        "technique": {"kind": technique, **SETTINGS.get(technique, {})},
        "objective": objective,
        "evaluation": {"retention": [], "drift_rows": 0},
        "training": {"steps": 6, "batch_rows": 4, "learning_rate": 5e-3, "save_every": 3},
    }
    if objective == "distill":
        toy_module(seed=7).save_pretrained(tmp_path / "teacher")
        toy_tokenizer().save_pretrained(tmp_path / "teacher")
        content["objective"] = {"kind": "distill", "teacher": "./teacher", "mix": 0.5}
    if objective in ("grpo", "ppo"):
        content["rollouts"] = {
            "group": 2,
            "max_new_tokens": 6,
            "rewards": [{"kind": "python", "function": "odd.py:odd"}],
        }
        (tmp_path / "odd.py").write_text("def odd(prompt, answer, reference):\n    return len(answer) % 3\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    run_file = load_run_file(tmp_path / "run.yaml")
    finished = fine_tune(replace(run_file, output=str(tmp_path / "run")))
    assert finished is not None
    assert finished.trained.steps == 6
    expected = scores(finished.trained.policy.model)
    again = open_subject(str(tmp_path / "run"))
    with again.use() as model:
        assert (scores(model) - expected).abs().max() < 1e-6
    assert "finished" in finished.run.page.read_text(encoding="utf-8")


def test_no_objective_is_left_out() -> None:
    assert ROWS.keys() == OBJECTIVES.keys()
