"""An Ollama Modelfile names the file, the template in its words, the stops and the template's own system message."""

from __future__ import annotations

from pathlib import Path

import pytest

from etude.errors import ModelError
from etude.exporting.modelfile import default_system, write_modelfile
from tests.toy import CHATML, toy_tokenizer

WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + CHATML
)


def test_a_chatml_model_is_described(tmp_path: Path) -> None:
    write_modelfile(tmp_path / "Modelfile", tmp_path / "toy.gguf", chat_template=CHATML, system="Be kind.")
    lines = (tmp_path / "Modelfile").read_text(encoding="utf-8")
    assert lines.startswith("FROM ./toy.gguf\nTEMPLATE ")
    assert "<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>" in lines
    assert 'PARAMETER stop "<|im_end|>"' in lines
    assert 'SYSTEM """Be kind."""' in lines


def test_the_templates_own_system_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_system(toy_tokenizer()) is None
    monkeypatch.setattr(toy_tokenizer(), "chat_template", WITH_SYSTEM)
    assert default_system(toy_tokenizer()) == "Be kind."


def test_a_strange_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be put into Ollama's words"):
        write_modelfile(tmp_path / "Modelfile", tmp_path / "toy.gguf", chat_template="{{ messages }}", system=None)
