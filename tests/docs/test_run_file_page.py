"""docs/run-file.md says what the settings say."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.blocks import ROOT


def test_the_reference_is_current() -> None:
    program = "from generate_run_file import page; print(page(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "docs", capture_output=True, text=True, check=True, timeout=60
    )
    assert made.stdout == (ROOT / "docs" / "run-file.md").read_text(encoding="utf-8"), "run `make docs`"
