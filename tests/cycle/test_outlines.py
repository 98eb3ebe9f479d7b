"""Models by any name that a run file may give them, before they are there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from etude.config import RunFile, load_run_file
from etude.cycle.outlines import Begun, bytes_beside, fresh, trainable_of
from etude.errors import EtudeError
from etude.models.options import ModelOptions
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.qlora import QLoRA
from tests.toy import toy_module, toy_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outlines") / "base"
    toy_module(hidden=64).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def run_file(base: Path, name: str, **changes: object) -> RunFile:
    settings = {"model": str(base), "data": {"train": "rows.jsonl"}, "output": str(base.parent / "runs" / name)}
    file = base.parent / f"{name}.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    return replace(load_run_file(file, check_files=False), **changes)  # type: ignore[arg-type]


def test_a_run_that_is_yet_to_come_has_its_base_s_sizes(base: Path) -> None:
    first = run_file(base, "first")
    second = run_file(base, "second", model=ModelOptions(name=first.output, precision="bfloat16"))
    begun = Begun.by([first, second])
    found = begun.plain(ModelOptions(name=second.output, precision="float32"))
    assert (found.name, found.precision) == (first.model.name, "float32")
    elsewhere = ModelOptions(name="no/run")
    assert begun.plain(elsewhere) == elsewhere


def test_a_model_on_the_policy_s_weights_costs_its_adapter(base: Path) -> None:
    policy, reward = run_file(base, "policy"), run_file(base, "reward", technique=LoRA(rank=2))
    adapter = 4.0 * trainable_of(LoRA(rank=2), fresh(policy.model))[0]
    module = toy_module(hidden=64)
    weights = 4.0 * sum(one.numel() for one in module.parameters())

    def beside(of: RunFile, made_by: RunFile, **settings: bool) -> float:
        return bytes_beside(made_by.output, of, Begun.by([made_by]), bytes_a_number=4, **settings)

    assert beside(policy, reward) == adapter
    assert beside(policy, reward, shares=False) == weights + adapter, "a judge is loaded on its own"
    assert beside(replace(policy, technique=Full()), reward) == weights + adapter, "the base would change under it"
    assert beside(policy, replace(reward, technique=Full())) == weights, "all of its weights are its own"
    assert adapter < beside(policy, replace(reward, technique=QLoRA(rank=2))) < weights + adapter
    other = replace(reward, model=ModelOptions(name=str(base), precision="bfloat16"))
    assert beside(replace(policy, model=ModelOptions(name=str(base), precision="float32")), other) == weights + adapter
    assert bytes_beside(str(base), policy, Begun({}), bytes_a_number=4) == weights
    with pytest.raises(EtudeError, match="nowhere"):
        bytes_beside("./nowhere", policy, Begun({}), bytes_a_number=4)
