"""Every example in the README and the docs is run, loaded or parsed: documentation that has aged fails."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from etude.cli.arguments import Parser
from etude.cli.main import COMMANDS
from etude.config import load_run_file
from etude.evaluation.tasks import load_task
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.endpoints.chat_server import chat_server

BASH = [(block.place, line) for block in blocks("bash") for line in block.text.splitlines() if line.strip()]
NEEDS_MODEL = [block for block in blocks("python") if "etude.load(" in block.text]
NEEDS_SERVER = [block for block in blocks("python") if "open_endpoint(" in block.text]
DEFINES = [block for block in blocks("python") if block not in (*NEEDS_MODEL, *NEEDS_SERVER)]
TASKS = [block for block in blocks("yaml") if block.text.startswith("name:")]
RUN_FILES = [block for block in blocks("yaml") if "model:" in block.text and block not in TASKS]


def named(found: list[Block]) -> list[str]:
    return [block.place for block in found]


def test_the_readme_has_examples_of_each_kind() -> None:
    assert BASH
    assert NEEDS_MODEL
    assert DEFINES
    assert RUN_FILES
    assert TASKS
    assert len(RUN_FILES) + len(TASKS) == len(blocks("yaml"))


@pytest.mark.parametrize("block", RUN_FILES, ids=named(RUN_FILES))
def test_run_files_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(block.text, encoding="utf-8")
    load_run_file(tmp_path / "run.yaml", check_files=False)


@pytest.mark.parametrize("block", TASKS, ids=named(TASKS))
def test_task_files_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "a.task.yaml").write_text(block.text, encoding="utf-8")
    load_task(tmp_path / "a.task.yaml")


@pytest.mark.parametrize(("place", "line"), BASH, ids=[f"{place} {line.split('#')[0].strip()}" for place, line in BASH])
def test_commands_exist_and_take_these_arguments(place: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "etude":
        command = import_module(COMMANDS[words[1]][0])
        parser = Parser(prog=f"etude {words[1]}")
        command.add_arguments(parser)
        parser.parse(words[2:])
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), f"{place}: no such target"
    else:
        assert (ROOT / words[0]).is_file(), f"{place}: {words[0]}"


@pytest.mark.parametrize("block", DEFINES, ids=named(DEFINES))
def test_examples_that_define_something_are_sound(block: Block, tmp_path: Path) -> None:
    """Runs the example; an objective or technique in it trains a toy model in tests/docs/test_extensions.py."""
    (tmp_path / "example.py").write_text(block.text, encoding="utf-8")
    subprocess.run([sys.executable, str(tmp_path / "example.py")], check=True, timeout=120)


@pytest.mark.parametrize("block", NEEDS_SERVER, ids=named(NEEDS_SERVER))
def test_examples_that_ask_a_server_are_answered(block: Block, tmp_path: Path) -> None:
    with chat_server() as server:
        program = block.text.replace("http://127.0.0.1:8000/v1", server.url)
        (tmp_path / "example.py").write_text(program, encoding="utf-8")
        subprocess.run([sys.executable, str(tmp_path / "example.py")], check=True, timeout=120)
        assert server.bodies


@pytest.mark.model
@pytest.mark.parametrize("block", NEEDS_MODEL, ids=named(NEEDS_MODEL))
def test_examples_that_train_run(block: Block, tmp_path: Path) -> None:
    for file in (ROOT / "src" / "etude" / "quickstart").glob("tickets*"):
        shutil.copy(file, tmp_path)
    program = block.text.replace("steps=20", "steps=2").replace("limit=8", "limit=2")
    (tmp_path / "example.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not broken
