"""Promises about the source that no linter knows: one loop for all objectives, no code in data, docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from etude.objectives import OBJECTIVES
from etude.techniques import TECHNIQUES
from tests.architecture.source import files, short, tree

MODEL_FAMILIES = (
    "llama",
    "qwen",
    "mistral",
    "gemma",
    "smollm",
    "gpt2",
    "gpt_neox",
    "phi3",
    "olmo",
    "cohere",
    "granite",
)
CODE_IN_DATA = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_training_names_no_objective_technique_or_model_family() -> None:
    classes = [place.partition(":")[2] for place in (*OBJECTIVES.values(), *TECHNIQUES.values())]
    classes.remove("Full")  # also what a queue can be
    rooms = [r"etude\.objectives\.(?!base\b)\w+", r"etude\.techniques\.(?!base\b|policy\b)\w+"]
    words = [rf"\b{name}\b" for name in (*OBJECTIVES, *classes)] + [
        rf"\b{kind}\b" for kind in TECHNIQUES if kind != "full"
    ]
    pattern = re.compile("|".join([*rooms, *words, *MODEL_FAMILIES]), re.IGNORECASE)
    found = [
        f"{short(path)}:{number}: {line.strip()}"
        for path in files("src/etude/training")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line) or re.search(r"isinstance\((objective|technique)", line)
    ]
    assert not found, found


def test_nothing_read_can_run_code() -> None:
    """But for the one program whose purpose that is, where the user allows it; it is no module of the rest."""
    found = [
        f"{short(path)}:{node.lineno}" for path in files("src") for node in ast.walk(tree(path)) if runs_code(node)
    ]
    confined = [one for one in found if one.startswith("src/etude/sampling/rewards/confined.py:")]
    assert confined
    assert found == confined
    assert not any("confined" in line for path in files("src") for line in imports(path))


def imports(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(from|import) ", line)]


def runs_code(node: ast.AST) -> bool:
    """Whether this line unpickles, evaluates text, or trusts another's code."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in CODE_IN_DATA for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in CODE_IN_DATA
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    trusts = any(
        keyword.arg == "trust_remote_code"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in node.keywords
    )
    unsafe = {
        "eval",
        "exec",
        "torch.load",
        "torch.save",
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "runpy.run_path",
        "runpy.run_module",
    }
    return called in unsafe or trusts


def test_the_search_for_code_finds_it() -> None:
    planted = (
        "import pickle\nfrom joblib import load\ntorch.load(f)\neval('1')\nfrom_pretrained(x, trust_remote_code=True)"
    )
    assert sum(runs_code(node) for node in ast.walk(ast.parse(planted))) == 5
    assert not any(runs_code(node) for node in ast.walk(ast.parse("model.eval()\nf(x, trust_remote_code=False)")))


def test_nobody_swallows_every_error() -> None:
    found = []
    for path in files("src"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception"):
                found.append(f"{short(path)}:{node.lineno}")
    assert not found, found


def test_public_functions_say_what_they_are_for() -> None:
    silent = [f"{short(path)}:{node.lineno} {node.name}" for path in files("src") for node in undocumented(tree(path))]
    assert not silent, silent


def undocumented(module: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes without a docstring; a class that is a list of fields is said by its name."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            bare = isinstance(node, ast.ClassDef) and all(
                isinstance(item, ast.AnnAssign | ast.Expr) for item in node.body
            )
            if not bare and not ast.get_docstring(node):
                yield node


def test_every_file_says_what_it_is() -> None:
    silent = [short(path) for path in files("src") if not ast.get_docstring(tree(path))]
    assert not silent, silent


def test_files_behind_urls_are_opened_in_one_place_from_what_a_user_named() -> None:
    """No row, template or request can make Etude fetch a URL as data."""
    sources = {short(path): path.read_text("utf-8") for path in files("src")}
    assert [name for name, text in sources.items() if "import fsspec" in text or "from fsspec" in text] == [
        "src/etude/data/remote.py"
    ]
    assert [name for name, text in sources.items() if "data.remote import" in text] == ["src/etude/data/sources.py"]


def test_no_module_is_asked_for_its_dtype() -> None:
    """That is its first weight's, which a technique may have put there in another precision; `dtype_of` knows."""
    asking = [short(path) for path in files("src") if re.search(r"\bmodule\.dtype\b", path.read_text("utf-8"))]
    assert not asking, asking
