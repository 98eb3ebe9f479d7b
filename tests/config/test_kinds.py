"""`kind` picks a dataclass out of the tables, or out of another installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from etude.config import load_run_file
from etude.config.kinds import TABLES, kind_class, kinds
from etude.errors import Problems


@pytest.mark.parametrize("section", TABLES)
def test_every_name_of_a_table_is_a_dataclass_that_says_its_kind(section: str) -> None:
    for kind in TABLES[section]:
        chosen = kind_class(section, kind)
        assert chosen is not None
        assert chosen().kind == kind


def test_another_package_adds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_objective.py").write_text(
        "from dataclasses import dataclass\nfrom typing import Literal\nfrom etude.objectives.base import Usual\n"
        "@dataclass(frozen=True)\nclass Theirs(Usual):\n    kind: Literal['theirs'] = 'theirs'\n    beta: float = 0.1\n"
    )
    package = tmp_path / "theirs-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[etude.objectives]\ntheirs = their_objective:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    run_file = tmp_path / "run.yaml"
    run_file.write_text("model: m\ndata: {train: org/rows}\nobjective: {kind: theirs, beta: 0.5}\n")
    try:
        assert kinds("objective") == (*TABLES["objective"], "theirs")
        assert load_run_file(run_file).objective == sys.modules["their_objective"].Theirs(beta=0.5)
        with pytest.raises(Problems, match=r"objective\.bta .*did you mean 'beta'"):
            load_run_file(run_file, ["objective={kind: theirs, bta: 1}"])
    finally:
        sys.modules.pop("their_objective", None)
