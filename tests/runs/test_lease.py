"""Leases: one writer, taken over only from the provably dead, and a fenced writer that cannot commit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from etude.errors import RunError
from etude.runs import lease as leases

HOLD = """
import sys, time
from pathlib import Path
from etude.runs import lease
held = lease.acquire(Path(sys.argv[1]))
print("held", held.fence, flush=True)
sys.stdin.readline()
try:
    held.check()
    print("may commit", flush=True)
except Exception as error:
    print("fenced", error, flush=True)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("held")
    return process


def ask(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate("\n", timeout=20)
    return out


def test_the_holder_may_commit_until_it_releases(tmp_path: Path) -> None:
    with leases.held(tmp_path) as lease:
        lease.check()
        assert lease.fence == 1
    with pytest.raises(RunError):
        lease.check()


def test_fences_only_grow(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        with leases.held(tmp_path) as lease:
            seen.append(lease.fence)
    assert seen == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == [".lease-000003"]


def test_a_second_live_process_is_refused(tmp_path: Path) -> None:
    process = hold(tmp_path)
    with pytest.raises(RunError, match=rf"in use by process {process.pid} since"):
        leases.acquire(tmp_path)
    assert ask(process) == "may commit\n"


def test_the_same_process_is_refused_twice(tmp_path: Path) -> None:
    with leases.held(tmp_path), pytest.raises(RunError, match="this very process"):
        leases.acquire(tmp_path)


def test_a_paused_process_still_holds_its_lease(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(RunError, match="in use"):
            leases.acquire(tmp_path)
    finally:
        process.send_signal(signal.SIGCONT)
    assert ask(process) == "may commit\n"


def test_a_killed_process_is_taken_over_with_a_higher_fence(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.kill()
    process.wait()
    with leases.held(tmp_path) as lease:
        assert lease.fence == 2
        lease.check()


def test_an_unreaped_dead_process_counts_as_dead(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.kill()
    deadline = time.monotonic() + 10
    while leases.holder(tmp_path) is not None and not leases.holder(tmp_path).is_gone:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert leases.acquire(tmp_path).fence == 2
    process.wait()


def test_a_fenced_writer_must_not_commit(tmp_path: Path) -> None:
    """Someone decided that the holder was dead while it only slept (its lease file was removed by hand)."""
    process = hold(tmp_path)
    process.send_signal(signal.SIGSTOP)
    (tmp_path / ".lease-000001").unlink()
    taken = leases.acquire(tmp_path)
    process.send_signal(signal.SIGCONT)
    assert "another process has taken this run over" in ask(process)
    taken.check()


def pretend(folder: Path, **changes: object) -> leases.Lease:
    lease = leases.acquire(folder)
    other = replace(lease.holder, **changes)
    (folder / ".lease-000001").write_text(json.dumps(asdict(other)))
    return lease


def test_a_reused_pid_is_not_the_holder(tmp_path: Path) -> None:
    pretend(tmp_path, process_start="1")
    assert leases.acquire(tmp_path).fence == 2


def test_a_lease_from_before_the_reboot_is_stale(tmp_path: Path) -> None:
    pretend(tmp_path, boot_id="before")
    assert leases.acquire(tmp_path).fence == 2


def test_another_machine_cannot_be_declared_dead(tmp_path: Path) -> None:
    pretend(tmp_path, host="elsewhere", boot_id="before", process_start="1")
    with pytest.raises(RunError, match=r"on elsewhere .*; if that process is gone, remove \.lease-000001"):
        leases.acquire(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"host": 1}'])
def test_a_half_made_lease_is_taken_over_after_a_while(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HALF_MADE_SECONDS", 0.1)
    (tmp_path / ".lease-000007").write_text(content)
    assert leases.acquire(tmp_path).fence == 8


def test_releasing_a_lost_lease_leaves_the_new_holder_alone(tmp_path: Path) -> None:
    old = pretend(tmp_path, process_start="1")
    new = leases.acquire(tmp_path)
    old.release()
    new.check()


def test_a_vanished_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lease = leases.acquire(folder)
    (folder / ".lease-000001").unlink()
    folder.rmdir()
    with pytest.raises(RunError, match="folder is gone"):
        lease.check()
    lease.release()


def test_of_many_at_once_exactly_one_wins(tmp_path: Path) -> None:
    won: list[leases.Lease] = []
    gate = threading.Barrier(8)

    def race() -> None:
        gate.wait()
        try:
            won.append(leases.acquire(tmp_path))
        except RunError:
            return

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].check()


def test_of_many_processes_exactly_one_takes_a_dead_ones_lease_over(tmp_path: Path) -> None:
    pretend(tmp_path, process_start="1")
    code = (
        "import sys,time;from pathlib import Path;from etude.runs import lease;from etude.errors import RunError\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "try: print('won', lease.acquire(Path(sys.argv[1])).fence, flush=True); time.sleep(1.5)\n"
        "except RunError: print('lost')"
    )
    start = str(time.time() + 1.0)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), start], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = sorted(process.communicate()[0].strip() for process in processes)
    assert said == ["lost", "lost", "lost", "won 2"]
    assert os.listdir(tmp_path) == [".lease-000002"]


def test_half_written_files_of_a_dead_holder_are_removed(tmp_path: Path) -> None:
    for name in (".manifest.json.123-0a1b2c3d.tmp", "..lease-000001.123-0a1b2c3d.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".mine.tmp").write_text("not ours to judge")
    with leases.held(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lease-000001", ".mine.tmp"]
