"""What the machine has free, and the most that was held."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from etude.models import machine


def test_free_memory_is_the_machine_s_or_the_container_s_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    of_the_machine = machine.free_memory()
    assert 1e8 < of_the_machine < 1e14
    for name, content in (("max", "3000000"), ("current", "2500000"), ("stat", "anon 1\ninactive_file 400000\n")):
        (tmp_path / f"memory.{name}").write_text(content, encoding="utf-8")
    assert machine.free_memory() == 900_000
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert machine.free_memory() > 1e8


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_forgotten_and_found_again() -> None:
    held = bytearray(200_000_000)
    del held
    machine.forget_peak()
    before = machine.peak_memory()
    held = bytearray(300_000_000)
    assert 2.5e8 < machine.peak_memory() - before < 3.5e8
    del held
    machine.forget_peak()
    assert machine.peak_memory() < before + 1e8
