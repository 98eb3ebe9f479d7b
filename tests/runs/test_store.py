"""The index: a view of the folders that is rebuilt, never believed, and never in the way."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from etude.errors import RunError
from etude.runs.store import SCHEMA, Store, home
from tests.runs.made import make_run, verdict


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "home" / "index.db"


def names(store: Store, folder: Path | None = None) -> list[str]:
    return sorted(row.name for row in store.runs(folder))


def test_a_scan_brings_in_updates_and_takes_out(tmp_path: Path, index: Path) -> None:
    folder = tmp_path / "runs"
    make_run(folder / "one", status="interrupted")
    make_run(folder / "two", verdicts=(verdict(), verdict("other")))
    elsewhere = make_run(tmp_path / "runs-elsewhere" / "three")
    store = Store.open(index)
    store.scan(folder)
    store.record(elsewhere.path)
    assert names(store) == ["one", "three", "two"]
    assert names(store, folder) == ["one", "two"]
    shutil.rmtree(folder / "one")
    shutil.rmtree(folder / "two")
    make_run(folder / "two", verdicts=(verdict(answer="worse"),))
    store.scan(folder)
    assert names(store) == ["three", "two"], "a folder whose name begins alike is another folder"
    [row] = store.runs(folder)
    assert [(score.task, score.answer) for score in row.scores] == [("tickets", "worse")]
    assert (row.base, row.technique, row.state, row.heldout_loss) == ("org/base-135m", "lora r16", "finished", 1.0)


def test_newest_first(tmp_path: Path, index: Path) -> None:
    for name, day in (("old", 1), ("new", 3), ("middle", 2)):
        make_run(tmp_path / "runs" / name, created=f"2026-01-0{day}T00:00:00+00:00")
    store = Store.open(index)
    store.scan(tmp_path / "runs")
    assert [row.name for row in store.runs()] == ["new", "middle", "old"]


def test_refresh_follows_the_folders(tmp_path: Path, index: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    store = Store.open(index)
    store.record(one.path)
    store.record(two.path)
    shutil.rmtree(one.path)
    two.manifest_file.write_text("{")
    store.refresh()
    assert [(row.name, row.state) for row in store.runs()] == [("two", "damaged")]


def test_runs_are_found_by_the_start_of_their_id(tmp_path: Path, index: Path) -> None:
    make_run(tmp_path / "one", run_id="abcd00")
    make_run(tmp_path / "two", run_id="abce00")
    make_run(tmp_path / "three", run_id="a%cd00")
    store = Store.open(index)
    store.scan(tmp_path)
    assert [row.name for row in store.find("abcd")] == ["one"]
    assert sorted(row.name for row in store.find("abc")) == ["one", "two"]
    assert [row.name for row in store.find("a%")] == ["three"]


def test_the_index_outlives_the_process(tmp_path: Path, index: Path) -> None:
    make_run(tmp_path / "one", verdicts=(verdict(),))
    store = Store.open(index)
    store.scan(tmp_path)
    store.close()
    again = Store.open(index)
    assert again.note is None
    assert [score.tuned for score in again.runs()[0].scores] == [0.915]


@pytest.mark.parametrize("damage", ["text", "header", "page", "table"])
def test_a_damaged_index_is_set_aside_and_rebuilt(tmp_path: Path, index: Path, damage: str) -> None:
    make_run(tmp_path / "runs" / "one")
    store = Store.open(index)
    store.scan(tmp_path / "runs")
    store.close()
    if damage == "text":
        index.write_text("this is no database, " * 100)
    elif damage == "header":
        index.write_bytes(b"\xff" * 16 + index.read_bytes()[16:])
    elif damage == "page":
        content = index.read_bytes()
        index.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    else:
        with sqlite3.connect(index) as connection:
            connection.execute("DROP TABLE scores")
    again = Store.open(index)
    assert "damaged" in (again.note or "")
    again.scan(tmp_path / "runs")
    assert names(again) == ["one"]
    assert index.with_name("index.db.damaged").is_file()


def test_an_older_schema_is_rebuilt(tmp_path: Path, index: Path) -> None:
    index.parent.mkdir()
    with sqlite3.connect(index) as connection:
        connection.execute("CREATE TABLE runs (path TEXT)")
        connection.execute("INSERT INTO runs VALUES ('x')")
    store = Store.open(index)
    assert names(store) == []
    make_run(tmp_path / "one")
    store.scan(tmp_path)
    assert names(store) == ["one"]


def test_a_newer_schema_is_refused_and_untouched(index: Path) -> None:
    Store.open(index).close()
    with sqlite3.connect(index) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(RunError, match=r"made by a newer Etude .*; update Etude"):
        Store.open(index)
    with sqlite3.connect(index) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    make_run(tmp_path / "runs" / "one")
    store = Store.open(tmp_path / "file" / "index.db")
    assert "made afresh" in (store.note or "")
    store.scan(tmp_path / "runs")
    assert names(store) == ["one"]


def test_a_locked_index_is_no_obstacle(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(index).close()
    monkeypatch.setattr("etude.runs.store.BUSY_MILLISECONDS", 50)
    other = sqlite3.connect(index, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    make_run(tmp_path / "runs" / "one")
    store = Store.open(index)
    assert "locked" in (store.note or "")
    store.scan(tmp_path / "runs")
    assert names(store) == ["one"]
    other.close()


def test_several_processes_may_scan_at_once(tmp_path: Path, index: Path) -> None:
    for number in range(5):
        make_run(tmp_path / "runs" / str(number), verdicts=(verdict(),))
    code = (
        "import sys; from pathlib import Path; from etude.runs.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "assert store.note is None, store.note\n"
        "for _ in range(10): store.scan(Path(sys.argv[2]))\n"
        "print(len(store.runs()))"
    )
    arguments = [sys.executable, "-c", code, str(index), str(tmp_path / "runs")]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["5\n"] * 3


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("ETUDE_HOME")
    assert home() == Path.home() / ".cache" / "etude"
