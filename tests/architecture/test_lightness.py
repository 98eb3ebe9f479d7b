"""What people read before anything is computed (help, checks, options) loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from etude.cli.main import COMMANDS
from tests.architecture.source import PACKAGE

HEAVY = (
    "torch", "transformers", "numpy", "pydantic", "sqlalchemy", "scipy", "matplotlib", "pyarrow", "datasets", "gguf",
    "safetensors", "huggingface_hub", "jinja2", "rich",
)  # fmt: skip
TORCH_INSIDE = {"policy"}


def loaded_by(statement: str, cwd: Path | None = None) -> set[str]:
    """The top-level modules in a fresh interpreter after the statement."""
    report = "print('\\n' + json.dumps([name.partition('.')[0] for name in sys.modules]))"
    program = f"import sys, json\n{statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def light_modules() -> list[str]:
    """Every module that must be readable without torch."""
    names = ["etude", "etude.cli.main", "etude.config", "etude.records", "etude.batch", "etude.errors", "etude.durable"]
    for folder, room in ((PACKAGE / "cli", "etude.cli"), (PACKAGE / "cli" / "data", "etude.cli.data")):
        names += [f"{room}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
    names += [f"etude.{path.parent.name}.options" for path in PACKAGE.glob("*/options.py")]
    for room in ("objectives", "techniques"):
        names += [
            f"etude.{room}.{path.stem}"
            for path in (PACKAGE / room).glob("*.py")
            if path.stem != "__init__" and path.stem not in TORCH_INSIDE
        ]
    return sorted(set(names))


@pytest.mark.parametrize("module", light_modules())
def test_reading_needs_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & set(HEAVY)


def test_rooms_are_named_before_they_are_entered() -> None:
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert not loaded_by("; ".join(f"import etude.{room}" for room in rooms)) & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_loads_no_command(arguments: list[str]) -> None:
    loaded = loaded_by(f"from etude.cli.main import main\nmain({arguments!r})")
    assert not loaded & {*HEAVY, "argparse", "yaml"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_computes_nothing(command: str) -> None:
    call = f"main([{command!r}, '--help'])"
    statement = f"from etude.cli.main import main\ntry: {call}\nexcept SystemExit as end: assert not end.code"
    assert not loaded_by(statement) & set(HEAVY)


def test_checking_a_run_file_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "run.yaml").write_text("model: smollm2-135m-instruct\ndata: {train: rows.jsonl}\n")
    loaded = loaded_by("from etude.cli.main import main\nassert main(['check', 'run.yaml']) == 0", cwd=tmp_path)
    assert not loaded & {"torch", "transformers", "numpy", "pyarrow", "datasets"}
    assert "pydantic" in loaded, "the probe sees what is loaded"
