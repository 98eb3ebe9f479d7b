"""Run folders: made once, never over something else, continued only where that makes sense."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from etude import durable
from etude.errors import RunError, StorageError
from etude.runs.directory import RunDirectory, claim, is_run, open_run
from tests.disk import FailingDisk
from tests.runs.made import make_run, manifest


def test_a_new_folder_is_made_with_its_parents_and_leased(tmp_path: Path) -> None:
    run, lease = claim(tmp_path / "runs" / "deep" / "one")
    assert run.path.is_dir()
    lease.check()
    assert not is_run(run.path)


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    run, _ = claim(tmp_path / "one")
    assert run.path == tmp_path / "one"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    for name in "dcba":
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"not empty and no run \(holds a, b, c, …\)"):
        claim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    with pytest.raises(RunError, match="is a file"):
        claim(tmp_path / "one")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("finished", "already holds a finished run; choose another output"),
        ("interrupted", "already holds an interrupted run; resume it"),
        ("failed", "already holds a failed run; resume it"),
    ],
)
def test_an_existing_run_is_never_written_over(tmp_path: Path, status, said: str) -> None:
    run = make_run(tmp_path / "one", status=status)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.name[0] != "."}
    with pytest.raises(RunError, match=said):
        claim(run.path)
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.name[0] != "."}


def test_a_run_in_progress_is_refused_to_new_and_resuming_alike(tmp_path: Path) -> None:
    run, lease = claim(tmp_path / "one")
    manifest().save(run.path)
    assert run.state == "running"
    for resume in (False, True):
        with pytest.raises(RunError, match="in use by this very process"):
            claim(run.path, resume=resume)
    lease.check()


def test_a_run_whose_process_died_is_told_and_can_be_resumed(tmp_path: Path) -> None:
    run, lease = claim(tmp_path / "one")
    manifest().save(run.path)
    lease.release()
    assert run.state == "died"
    with pytest.raises(RunError, match="already holds a run whose process died; resume it"):
        claim(run.path)
    again, lease = claim(run.path, resume=True)
    assert again == run
    assert lease.fence == 2


def test_a_finished_run_is_not_resumed_unless_asked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    with pytest.raises(RunError, match="nothing to resume"):
        claim(run.path, resume=True)
    _, lease = claim(run.path, resume=True, allow_finished=True)
    lease.check()


def test_a_refusal_gives_the_lease_back(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    with pytest.raises(RunError):
        claim(run.path, resume=True)
    claim(run.path, resume=True, allow_finished=True)


def test_resuming_nothing_names_what_is_near(tmp_path: Path) -> None:
    make_run(tmp_path / "tickets")
    with pytest.raises(RunError, match=r"no such run; did you mean .*tickets\?"):
        claim(tmp_path / "tickts", resume=True)
    assert not (tmp_path / "tickts").exists()
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path)


def test_a_read_only_place_is_a_clear_line(tmp_path: Path) -> None:
    with (
        durable.using(FailingDisk(errno.EROFS, at=1, kinds=("mkdir",))),
        pytest.raises(StorageError, match=r"one: the disk is read-only; choose another folder"),
    ):
        claim(tmp_path / "one")


def test_a_disk_full_at_any_step_leaves_a_folder_that_can_be_claimed(tmp_path: Path) -> None:
    refused = 0
    for k in range(1, 12):
        with durable.using(FailingDisk(errno.ENOSPC, at=k, kinds=("open", "write", "fsync", "mkdir"))):
            try:
                claim(tmp_path / str(k))[1].release()
            except StorageError:
                refused += 1
        claim(tmp_path / str(k))
    assert refused >= 7


def test_the_files_of_a_run_have_their_places(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.checkpoint(100) == tmp_path / "checkpoints" / "step-00000100"
    assert run.report("tickets", base=True) == tmp_path / "reports" / "tickets.base.jsonl"
    assert run.report("tickets") == tmp_path / "reports" / "tickets.jsonl"
    assert run.weights is None
    run.model.mkdir()
    assert run.weights == run.model
    run.adapter.mkdir()
    assert run.weights == run.adapter
