"""From a name to a folder: local folders, GGUF files, the hub and what it may answer, the embedded model."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from etude.errors import EtudeError, ModelError
from etude.models.load import load, load_tokenizer
from etude.models.options import ModelOptions
from etude.models.source import (
    EMBEDDED,
    REMEMBERED_BYTES,
    SETTLED_NANOSECONDS,
    cache_folder,
    file_sha256,
    find_folder,
    folder_hash,
    remembered_sha256,
)
from tests.models.gguf_file import write_gguf
from tests.models.hub_server import COMMIT, hub
from tests.toy import CHATML, toy_module, toy_tokenizer

TOKENS = torch.tensor([[1, 40, 41, 42, 43]])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def gguf(tmp_path: Path, home: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, toy_module())
    return path


def test_a_gguf_file_gives_the_same_model_and_tokenizer(gguf: Path, home: Path) -> None:
    model = load(ModelOptions(name=str(gguf), precision="float32"))
    with torch.no_grad():
        ours, expected = (one(input_ids=TOKENS, use_cache=False).logits for one in (model.module, toy_module()))
    assert (ours - expected).abs().max() < 1e-6
    text = "<|im_start|>user\nthe quick brown fox<|im_end|>"
    assert model.tokenizer(text)["input_ids"] == toy_tokenizer()(text)["input_ids"]
    assert model.tokenizer.chat_template == CHATML
    assert model.folder == home / "models" / f"tiny-{file_sha256(gguf)[:16]}"


def test_a_conversion_is_kept_by_content(gguf: Path, tmp_path: Path) -> None:
    folder = find_folder(str(gguf))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert find_folder(str(gguf)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    write_gguf(gguf, toy_module(seed=1))
    assert find_folder(str(gguf)) != folder
    assert sorted(path.name[:5] for path in cache_folder().iterdir()) == ["tiny-", "tiny-"], "nothing half-made stays"


@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-3, 0.03, 0.5, 0.9999])
def test_a_cut_gguf_file_is_a_clear_error(gguf: Path, share: float) -> None:
    content = gguf.read_bytes()
    gguf.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match="cannot be read as GGUF") as caught:
        find_folder(str(gguf))
    assert str(gguf) in str(caught.value)
    assert list(cache_folder().iterdir()) == []


def test_a_gguf_file_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(ModelError, match=r"gone.gguf: no such file"):
        find_folder("gone.gguf")


def test_a_file_is_no_model(base: Path) -> None:
    with pytest.raises(ModelError, match="a file, not a model"):
        find_folder(str(base / "model.safetensors"))


def test_a_folder_is_taken_as_it_is(base: Path) -> None:
    assert find_folder(str(base)) == base


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What HF_HUB_OFFLINE=1 with an empty cache sets when the library is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("ask", [load, load_tokenizer, find_folder])
def test_an_unknown_hub_id_offline_is_a_quick_clear_error(ask: object) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"someone/nothing.*hub cannot be reached.*smollm2-135m-instruct"):
        ask("someone/nothing")  # type: ignore[operator]
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", ["./models/nothing", "/models/nothing", "a/b/c", "bad name!", ""])
def test_what_is_neither_path_nor_hub_id_says_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EtudeError):
        find_folder(name)


@pytest.fixture
def hub_address(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on loopback that holds the toy model as someone/model; no cache yet."""
    with hub(base, "someone/model") as address:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield address


@pytest.mark.usefixtures("hub_address")
def test_a_model_comes_from_the_hub_and_then_from_the_cache(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = find_folder("someone/model")
    assert folder.name == COMMIT
    assert folder_hash(folder) == folder_hash(base)
    assert find_folder("someone/model", revision=COMMIT) == folder
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_folder("someone/model") == folder


@pytest.mark.usefixtures("hub_address")
@pytest.mark.parametrize(
    ("name", "revision", "words"),
    [
        ("someone/gated", None, "licence agreement"),
        ("someone/missing", None, "not on the hub"),
        ("someone/model", "v9", "no revision 'v9'"),
        ("someone/broken", None, "cannot be reached"),
        ("someone/denied", None, r"download failed"),
    ],
)
def test_every_refusal_of_the_hub_is_one_clear_line(name: str, revision: str | None, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        find_folder(name, revision=revision)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("hub_address")
def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "file"
    cache.write_text("in the way")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache / "hub"))
    with pytest.raises(ModelError, match="download failed"):
        find_folder("someone/model")


def test_the_hash_is_over_config_and_weights_alone(base: Path, tmp_path: Path) -> None:
    first = folder_hash(base)
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    (copy / "README.md").write_text("a model")
    assert folder_hash(copy) == first
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert folder_hash(copy) != first
    toy_module(seed=1).save_pretrained(base)
    assert folder_hash(base) != first


@pytest.mark.model
@pytest.mark.usefixtures("offline")
def test_the_embedded_model_needs_no_network() -> None:
    folder = find_folder(EMBEDDED)
    assert folder == find_folder("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert load_tokenizer(EMBEDDED).chat_template


@pytest.fixture
def large(tmp_path: Path, home: Path) -> Path:
    """A file that is large enough for its hash to be kept, and has not changed for a while."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(REMEMBERED_BYTES))
    time.sleep(SETTLED_NANOSECONDS / 1e9 + 0.05)
    return path


def test_a_large_file_is_read_once(large: Path, home: Path) -> None:
    assert remembered_sha256(large) == file_sha256(large)
    (kept,) = (home / "hashes").iterdir()
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps({**known, "sha256": "known"}))
    assert remembered_sha256(large) == "known", "not read again"
    for odd in ("", "[1]", "{}", '{"file": 3}'):
        kept.write_text(odd)
        assert remembered_sha256(large) == file_sha256(large)


def test_a_changed_file_is_read_again(large: Path) -> None:
    first = remembered_sha256(large)
    stat = large.stat()
    with large.open("r+b") as file:
        file.write(b"x")
    os.utime(large, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # whoever sets the time of change back is found out
    assert remembered_sha256(large) == file_sha256(large) != first


def test_hashes_of_fresh_and_small_files_are_not_kept(tmp_path: Path, home: Path) -> None:
    (tmp_path / "fresh").write_bytes(bytes(REMEMBERED_BYTES))
    (tmp_path / "small").write_bytes(b"1")
    for name in ("fresh", "small"):
        remembered_sha256(tmp_path / name)
    assert not (home / "hashes").exists()


def test_a_home_that_takes_nothing_costs_a_reading(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "file"))
    assert remembered_sha256(large) == file_sha256(large)
