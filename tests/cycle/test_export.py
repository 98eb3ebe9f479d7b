"""`etude export` on the command line: each form from a real run, merged adapters, mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from etude.models.load import load
from etude.models.options import ModelOptions
from tests.cycle.conftest import Desk, Done
from tests.exporting.hub_server import LOGIN, REPOSITORY, Hub, hub_on_loopback
from tests.sampling.vllm_server import vllm_server


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


def exported_to(hub: Hub, desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads where the hub is when it is imported."""
    environment = {**os.environ, **hub.environment, "ETUDE_HOME": str(desk.folder / "home")}
    command = [str(Path(sys.executable).with_name("etude")), "export", "runs/toy", "--push", REPOSITORY, *arguments]
    return subprocess.run(command, cwd=desk.folder, env=environment, capture_output=True, text=True, check=False)


def test_an_export_goes_to_a_hub(finished: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with hub_on_loopback() as hub:
        done = exported_to(hub, finished, "--to", "hub", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.url}/{REPOSITORY} (a repository" in done.stdout
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"adapter_model.safetensors", "README.md", "parity.json"} <= files.keys(), "the adapter alone"
    assert hub.files == files


def test_a_hub_that_refuses_costs_no_export(finished: Desk, tmp_path: Path) -> None:
    with hub_on_loopback(refuses={LOGIN: 401}) as hub:
        done = exported_to(hub, finished, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "Invalid user token" in done.stderr
    assert "hf auth login" in done.stderr
    assert list(tmp_path.iterdir()) == []
    nowhere = finished.etude("export", "runs/toy", "--to", "hub", "--out", str(tmp_path / "out"))
    assert (nowhere.code, "give --push OWNER/NAME" in nowhere.error) == (2, True)


def test_an_adapter_is_asked_in_a_vllm_server(finished: Desk, tmp_path: Path) -> None:
    base = partial(load, ModelOptions(name=str(finished.folder / "base"), precision="float32"))
    exact = ("model={name: ./base, precision: float32}", "output=runs/exact")  # as the server computes
    said(finished.etude("train", "toy.yaml", *exact))
    asked = ("export", "runs/exact", "--to", "adapter", "--vllm")
    with vllm_server(base) as server:
        words = said(finished.etude(*asked, server.url, "--out", str(tmp_path / "out")))
        assert server.loaded
        assert not server.adapters
    assert "adapter in vLLM: holds; same token ids" in words
    assert parity_of(tmp_path / "out")[1]["most_difference"] < 1e-3  # type: ignore[operator]
    done = finished.etude("export", "runs/toy", "--vllm", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "no"))
    assert (done.code, "--vllm takes adapters only" in done.error) == (2, True)


def test_a_vllm_server_that_answers_by_other_weights_fails_the_export(finished: Desk, tmp_path: Path) -> None:
    base = partial(load, ModelOptions(name=str(finished.folder / "base"), precision="float32"))
    other = tmp_path / "other"
    shutil.copytree(finished.folder / "runs" / "toy" / "adapter", other)
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: -3 * tensor for name, tensor in weights.items()}, other / "adapter_model.safetensors")
    with vllm_server(base, stale=True) as server:
        server.answer("/v1/load_lora_adapter", {"lora_name": "other", "lora_path": str(other)})
        done = finished.etude(
            "export", "runs/toy", "--to", "adapter", "--vllm", server.url, "--out", str(tmp_path / "out")
        )
    assert done.code == 1
    assert "adapter in vLLM: FAILS" in done.words
    assert (tmp_path / "out" / "EXPORT_FAILED").is_file()


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
