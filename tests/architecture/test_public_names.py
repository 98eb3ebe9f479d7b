"""The names of `import etude`: they change on purpose, all of them resolve, and editors see the same ones."""

from __future__ import annotations

import ast

import pytest

import etude
from tests.architecture.source import PACKAGE, ROOT, tree

PUBLIC = """
    CPO Conversation DPO EtudeError Full GRPO KTO LoRA Message ModelOptions ORPO PPO Preference Prompt Report Reward SFT
    SampleOptions SimPO Text TrainOptions Verdict attach batches compare evaluate fine_tune load open_subject read
    sample split train
""".split()  # noqa: SIM905  (a table of names reads better than 25 quoted strings)


def test_the_public_names_are_these() -> None:
    assert sorted(etude.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(etude))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_resolves_and_is_explained(name: str) -> None:
    assert getattr(etude, name).__doc__


def test_editors_see_the_same_names() -> None:
    seen = {
        alias.asname or alias.name
        for node in ast.walk(tree(PACKAGE / "__init__.py"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("etude.")
        for alias in node.names
    }
    assert seen == set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="etude"):
        etude.lode  # noqa: B018  # the access is the test


def test_the_readme_shows_the_verbs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(
        f"etude.{verb}(" in readme for verb in ("load", "attach", "read", "batches", "train", "evaluate", "compare")
    )
