"""Every recipe is a run file that `etude check` accepts, and its commands are ones that exist."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser

import pytest

from etude.cli.data import redact
from etude.cli.data.files import settings_of
from etude.cli.main import main
from etude.config import load_run_file
from etude.cycle.recipes import RECIPES
from etude.data.redact import Redact


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = json.dumps({"intent": "a", "product": "b", "urgency": "c"})
    rows = [
        {"prompt": f"question {n}", "completion": answer, "chosen": "No.", "rejected": "Yes.", "label": "unsafe"}
        for n in range(4)
    ]
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_checks(name, folder, capsys):
    assert main(["data", "recipe", name]) == 0
    assert main(["check", f"{name}.yaml"]) == 0, capsys.readouterr()
    assert load_run_file(folder / f"{name}.yaml").data.system == RECIPES[name].system
    assert main(["data", "recipe", name]) == 2, "it would be overwritten"


@pytest.mark.parametrize("name", RECIPES)
def test_its_redaction_is_one_that_the_command_takes(name, folder):
    main(["data", "recipe", name])
    [line] = re.findall(r"etude data redact (.+)", (folder / f"{name}.yaml").read_text("utf-8"))
    parser = ArgumentParser()
    redact.add_arguments(parser)
    assert settings_of(parser.parse_args(shlex.split(line)), Redact).kinds


def test_the_list_and_a_misspelt_name(folder, capsys):
    assert main(["data", "recipe"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in RECIPES)
    assert main(["data", "recipe", "helthcare"]) == 2
    assert "did you mean 'healthcare'" in capsys.readouterr().err
