"""Data sets of the hub, whose library gives the rows here: a file like any other, within the limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from etude.data import hub
from etude.data.inputs import open_inputs
from etude.data.read import content_of, read
from etude.errors import DataError
from etude.records import Conversation

ROWS = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(20)]
Publish = Callable[..., None]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Makes the library, which would ask the network, give these splits."""
    import datasets
    from huggingface_hub import constants

    def as_if(*, size: int = 1000, **splits: list[dict[str, str]]) -> None:
        held = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in splits.items()})
        builder = SimpleNamespace(info=SimpleNamespace(download_size=size))
        monkeypatch.setattr(datasets, "load_dataset_builder", lambda name, config: builder)
        monkeypatch.setattr(datasets, "load_dataset", lambda name, config: held)
        hub.fetch.cache_clear()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))
    return as_if


def test_a_split_is_read_as_a_file_is(publish: Publish) -> None:
    publish(train=ROWS, test=ROWS[:3])
    rows = read("owner/name:config", streams=True)
    assert len(rows) == 20
    assert isinstance(rows[4], Conversation)
    assert str(rows[4].origin) == "hub:owner/name:config#train:5"
    assert len(read("owner/name:config#test")) == 3
    assert content_of("owner/name:config").sha256 == rows.sha256
    (file,) = open_inputs(["owner/name:config"]).files
    assert (file.name, file.source.format) == ("hub:owner/name:config#train", "JSONL")


def test_what_is_not_there_or_too_large_is_said(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(validation=ROWS, test=ROWS)
    with pytest.raises(DataError, match="none is called train; choose one of validation, test, as in owner/name#"):
        read("owner/name")
    with pytest.raises(DataError, match="has no split 'other'"):
        read("owner/name#other")
    publish(train=ROWS[:0])
    with pytest.raises(DataError, match="has no rows"):
        read("owner/name")
    publish(train=ROWS, size=1 << 40)
    with pytest.raises(DataError, match="is larger than 10,737,418,240 bytes"):
        read("owner/name")
    publish(train=ROWS, size=100)
    monkeypatch.setenv("ETUDE_REMOTE_BYTES", "600")
    with pytest.raises(DataError, match="#train: is larger than 600 bytes"):
        read("owner/name")
