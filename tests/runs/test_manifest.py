"""Manifests: a round trip, hashes that notice a flipped byte, and damage that is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import RunError
from etude.runs.manifest import Manifest, file_sha256, installed_versions, new_run_id, utc_now
from tests.runs.made import make_run, manifest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    seed=st.integers(0, 2**63),
    parent=st.none() | TEXTS,
    command=st.lists(TEXTS, max_size=4),
    timings=st.dictionaries(TEXTS, st.floats(0, 1e9)),
)
def test_a_manifest_reads_back_as_it_was_saved(tmp_path_factory, seed, parent, command, timings) -> None:
    folder = tmp_path_factory.mktemp("run")
    made = manifest(seed=seed, parent=parent, command=tuple(command), timings=timings)
    made.save(folder)
    assert Manifest.load(folder) == made


def test_finishing_hashes_every_file_but_checkpoints_and_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"w")
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000001" / "state").write_bytes(b"s")
    (tmp_path / ".lease-000001").write_bytes(b"l")
    (tmp_path / "run.yaml").write_text("")
    finished = manifest().finished(tmp_path)
    assert finished.status == "finished"
    assert list(finished.files) == ["adapter/weights", "run.yaml"]
    assert finished.files["adapter/weights"].sha256 == file_sha256(tmp_path / "adapter" / "weights")
    finished.save(tmp_path)
    assert Manifest.load(tmp_path).verify(tmp_path) == []


def test_verify_names_each_kind_of_change(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    recorded = run.manifest()
    run.run_file.write_text("x")
    content = bytearray(run.metrics_file.read_bytes())
    content[5] ^= 1
    run.metrics_file.write_bytes(content)
    found = recorded.verify(run.path)
    assert [line.split(":")[0] for line in found] == ["metrics.jsonl", "run.yaml"]
    assert "content changed" in found[0]
    assert "1 bytes" in found[1]
    run.metrics_file.unlink()
    assert "metrics.jsonl: missing" in recorded.verify(run.path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.pop("base"), "no 'base'"),
        (lambda raw: raw.update(status="gone"), "unknown status 'gone'"),
        (lambda raw: raw.update(surprise=1), "surprise"),
        (lambda raw: raw["base"].pop("hash"), "hash"),
        (lambda raw: raw.update(files=[1]), "damaged"),
    ],
)
def test_damage_is_named_with_the_file(tmp_path: Path, change, said: str) -> None:
    raw = asdict(manifest())
    change(raw)
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(RunError, match=said) as caught:
        Manifest.load(tmp_path)
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00"])
def test_what_is_no_manifest_is_a_run_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        Manifest.load(tmp_path)


def test_ids_and_times() -> None:
    assert len({new_run_id() for _ in range(100)}) == 100
    assert datetime.fromisoformat(utc_now()).utcoffset() is not None
    assert {"python", "torch", "transformers"} <= set(installed_versions())
