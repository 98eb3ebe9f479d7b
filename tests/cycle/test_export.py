"""`etude export` on the command line: each form from a real run, merged adapters, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cycle.conftest import Desk, Done


def said(done: Done) -> str:
    assert done.code == 0, done.words
    return done.words


def parity_of(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "parity.json").read_text(encoding="utf-8"))["parity"]
    return found


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("--to", "merged"), {"config.json", "model.safetensors", "tokenizer.json"}),
        (("--to", "merged", "--precision", "float32"), {"config.json", "model.safetensors"}),
        (("--to", "adapter"), {"adapter_config.json", "adapter_model.safetensors"}),
    ],
)
def test_each_form_is_written_and_proven(
    finished: Desk, arguments: tuple[str, ...], files: set[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = said(finished.etude("export", "runs/toy", *arguments, "--out", str(out)))
    assert "holds; same token ids" in words
    assert files | {"README.md", "parity.json"} <= {path.name for path in out.iterdir()}
    assert all(one["holds"] for one in parity_of(out))
    card = (out / "README.md").read_text(encoding="utf-8")
    for part in ("base_model:", "## Measured", "## Limits", "sha256", "## Parity of this export"):
        assert part in card
    again = finished.etude("export", "runs/toy", *arguments, "--out", str(out))
    assert (again.code, "is there already" in again.words) == (2, True)


def test_adapters_become_one_that_is_opened(finished: Desk, tmp_path: Path) -> None:
    out = tmp_path / "both"
    words = said(finished.etude("export", "merge", "runs/toy", "runs/toy", "--weights", "0.5,0.5", "--out", str(out)))
    assert "100.0% of the additions' squared size kept" in words
    said(finished.etude("evaluate", str(out), "toy.task.yaml", "--limit", "2"))


def test_mistakes_are_one_line(finished: Desk, tmp_path: Path) -> None:
    for arguments, says in (
        (("export", "runs/none", "--out", str(tmp_path / "a")), "runs/none"),
        (("export", "merge", "runs/toy", "--weights", "x", "--out", str(tmp_path / "b")), "--weights takes numbers"),
        (("export", "merge", "runs/toy"), "give --out"),
    ):
        done = finished.etude(*arguments)
        assert done.code == 2, done.words
        assert says in done.error
        assert "Traceback" not in done.words
    assert not list(tmp_path.iterdir())
