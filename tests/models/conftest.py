"""A base model on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import toy_module, toy_tokenizer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The toy model's folder, as save_pretrained writes it."""
    folder = tmp_path / "base"
    toy_module().save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder
