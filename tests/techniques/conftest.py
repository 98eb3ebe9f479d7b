"""A toy base model on disk, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toy import toy_module, toy_tokenizer


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("techniques") / "base"
    toy_module().save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder
