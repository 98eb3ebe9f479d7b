"""Stop requests are flags, the second one is immediate, and the old handlers come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from etude.training.signals import stop_requests

KINDS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_becomes_a_flag(kind: signal.Signals) -> None:
    with stop_requests() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), kind)
        assert stop.requested is kind


def test_the_first_of_several_kinds_is_remembered() -> None:
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested is signal.SIGTERM


def test_handlers_come_back_also_after_an_error() -> None:
    before = [signal.getsignal(kind) for kind in KINDS]
    with pytest.raises(ZeroDivisionError), stop_requests():
        raise ZeroDivisionError(signal.raise_signal(signal.SIGTERM))
    assert [signal.getsignal(kind) for kind in KINDS] == before


def test_nested_blocks_restore_in_order() -> None:
    with stop_requests() as outer:
        with stop_requests() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
        assert inner.requested is signal.SIGTERM
        assert outer.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.requested is signal.SIGTERM


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_installed() -> None:
    seen: list[object] = []
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with stop_requests() as stop:
            seen.extend([signal.getsignal(signal.SIGTERM), stop.requested])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]


PROGRAM = """
import time
from etude.training.signals import stop_requests
with stop_requests(notice="stopping") as stop:
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
        if stop.requested:
            print(stop.requested.name, flush=True)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_signal_of_a_kind_ends_the_process_at_once(kind: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(kind)
        assert child.stdout.readline().strip() == kind.name
        child.send_signal(kind)
        assert child.wait(5) == 128 + kind
        assert child.stderr.read() == "\nstopping\n"
