"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: only what a property says counts.
settings.register_profile("etude", deadline=None)
settings.load_profile("etude")

# Background jobs of a shell ignore Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Built once for all tests, whatever home a test gives its commands.
os.environ.setdefault("ETUDE_KERNELS", str(Path.home() / ".cache" / "etude" / "kernels"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of public data sets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data sets at {folder}; set ETUDE_DATA to their folder")
    return folder
