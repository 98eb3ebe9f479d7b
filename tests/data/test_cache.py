"""Kept rows are the rows that would be made, and whatever happened to them they are never used damaged."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from etude.data.cache import ABOUT, Cache, cache_key, tokenizer_sha256
from etude.data.prepare import Prepared, prepare
from etude.data.read import content_of, read
from etude.data.render import Renderer
from etude.data.split import split
from etude.data.store import TYPES
from etude.errors import DataError
from tests.data.test_store import plain
from tests.data.tokenizers_zoo import families

FAMILIES = families()
KEY = "0" * 64


class Maker:
    """Prepares a small file's rows and counts how often."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "rows.jsonl"
        rows = [{"prompt": f"question {at}", "completion": f"answer {at}"} for at in range(40)]
        lines = [*map(json.dumps, rows), '{"prompt": "\\ud83d", "completion": "x"}', "{" * 20_000]
        self.path.write_text("".join(f"{line}\n" for line in lines))
        self.count = 0

    def __call__(self, folder: Path | None) -> Prepared:
        self.count += 1
        records = read(self.path, max_bad_share=0.5, streams=True)
        train, heldout = split(records, 0.2, seed=0)
        return prepare(train, Renderer(FAMILIES["chatml"]), heldout=heldout, max_tokens=64, folder=folder)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def cache(folder: Path, said: list[str] | None = None, **settings: int) -> Cache:
    return Cache(folder / "kept", (said if said is not None else []).append, **settings)


def same(one: Prepared, other: Prepared) -> bool:
    assert json.dumps(one.summary.as_dict()) == json.dumps(other.summary.as_dict())
    assert one.summary == other.summary
    assert [str(bad) for bad in one.bad] == [str(bad) for bad in other.bad]
    assert [bad.raw[:10_000] for bad in one.bad] == [bad.raw[:10_000] for bad in other.bad]
    return [list(map(plain, side)) for side in (one.samples, one.heldout)] == [
        list(map(plain, side)) for side in (other.samples, other.heldout)
    ]


def test_what_is_kept_is_what_was_made(tmp_path: Path, maker: Maker) -> None:
    in_memory = maker(None)
    said: list[str] = []
    made = cache(tmp_path, said).prepared(KEY, maker)
    kept = cache(tmp_path, said).prepared(KEY, maker)
    assert maker.count == 2
    assert same(made, in_memory)
    assert same(kept, in_memory)
    assert (len(kept.samples), len(kept.heldout), len(kept.bad)) == (32, 8, 2)
    assert said == []
    assert {path.name for path in (tmp_path / "kept").rglob("*")} == {KEY, ABOUT, *TYPES}, "nothing half-made stays"


@pytest.mark.parametrize("name", [ABOUT, "tokens", "span_weight", "row_stop", "again"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, maker: Maker, name: str, damage: str) -> None:
    first = cache(tmp_path).prepared(KEY, maker)
    expected = [plain(sample) for sample in first.samples]
    path = tmp_path / "kept" / KEY / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # what is mapped stays as it is
    if damage != "gone":
        path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-4]), "empty": b""}[damage])
    said: list[str] = []
    again = cache(tmp_path, said).prepared(KEY, maker)
    assert maker.count == 2
    assert [plain(sample) for sample in again.samples] == expected
    if (name, damage) != (ABOUT, "gone"):
        assert said[0] == f"note: the prepared rows in {tmp_path / 'kept' / KEY} were damaged and are made again"
    cache(tmp_path).prepared(KEY, maker)
    assert maker.count == 2


def test_an_error_leaves_nothing(tmp_path: Path, maker: Maker) -> None:
    def fail(folder: Path | None) -> Prepared:
        maker(folder)
        raise DataError("too long")

    for _ in range(2):
        with pytest.raises(DataError, match="too long"):
            cache(tmp_path).prepared(KEY, fail)
    assert maker.count == 2
    assert list((tmp_path / "kept").iterdir()) == []


def test_where_nothing_can_be_kept_rows_are_prepared_all_the_same(tmp_path: Path, maker: Maker) -> None:
    (tmp_path / "kept").write_text("a file")
    said: list[str] = []
    assert same(cache(tmp_path, said).prepared(KEY, maker), maker(None))
    (line,) = said
    assert line.startswith("note: the prepared rows are not kept for the next run: ")


def test_what_was_used_longest_ago_makes_room(tmp_path: Path, maker: Maker) -> None:
    keys = [str(at) * 64 for at in range(4)]
    for key in keys[:3]:
        cache(tmp_path).prepared(key, maker)
    size = sum(path.stat().st_size for path in (tmp_path / "kept" / keys[0]).iterdir())
    for age, key in enumerate(keys[:3], start=1):
        os.utime(tmp_path / "kept" / key / ABOUT, (1e9 - age, 1e9 - age))
    cache(tmp_path).prepared(keys[2], maker)  # used again
    leftover = tmp_path / "kept" / f".{'9' * 64}.building"
    leftover.mkdir()
    cache(tmp_path, most_bytes=3 * size + 50).prepared(keys[3], maker)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [keys[0], keys[2], keys[3]]
    assert maker.count == 4


def test_rows_in_use_outlive_their_entry(tmp_path: Path, maker: Maker) -> None:
    kept = cache(tmp_path).prepared(KEY, maker)
    expected = [plain(sample) for sample in kept.samples]
    cache(tmp_path, most_bytes=0).prepared("1" * 64, maker)
    assert not (tmp_path / "kept" / KEY).exists()
    assert [plain(sample) for sample in kept.samples] == expected


def slowly(folder: Path) -> None:
    """Another process that makes the entry and writes down that it did."""
    maker = Maker(folder / f"{os.getpid()}")

    def make(place: Path | None) -> Prepared:
        (folder / f"made-{os.getpid()}").touch()
        time.sleep(0.5)
        return maker(place)

    cache(folder).prepared(KEY, make)


def test_of_processes_that_ask_at_once_one_works(tmp_path: Path) -> None:
    started = [multiprocessing.get_context("fork").Process(target=slowly, args=(tmp_path,)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert len(list(tmp_path.glob("made-*"))) == 1


def test_the_key_is_of_everything() -> None:
    one = cache_key(seed=0, data={"max_tokens": 64})
    assert one == cache_key(data={"max_tokens": 64}, seed=0)
    assert len({one, cache_key(seed=1, data={"max_tokens": 64}), cache_key(seed=0, data={"max_tokens": 65})}) == 3
    hashes = {name: tokenizer_sha256(tokenizer) for name, tokenizer in FAMILIES.items()}
    assert len(set(hashes.values())) == len(hashes)
    tokenizer = copy.deepcopy(FAMILIES["chatml"])
    tokenizer.chat_template += " "
    assert tokenizer_sha256(tokenizer) != hashes["chatml"]


def test_content_is_of_the_bytes_and_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    before = content_of(tmp_path)
    assert before.sha256 == read(tmp_path).sha256
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n{"text": "three"}\n')
    after = content_of(tmp_path)
    assert after.sha256 == before.sha256
    assert after != before, "a row in another file has another name"
