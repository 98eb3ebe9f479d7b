"""An Ollama Modelfile beside a GGUF file (https://github.com/ollama/ollama/blob/main/docs/modelfile.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from etude.data.template_process import TemplateProcess
from etude.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = {
    "<|im_start|>": (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
        ("<|im_start|>", "<|im_end|>"),
    ),
    "<|start_header_id|>": (
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ("<|start_header_id|>", "<|eot_id|>"),
    ),
    "[INST]": (
        '{{- range .Messages }}{{ if eq .Role "user" }}[INST] {{ .Content }} [/INST]{{ else }}{{ .Content }}</s>'
        "{{ end }}{{ end }}",
        ("[INST]", "</s>"),
    ),
}
"""Ollama's template language is not that of chat templates: the families of templates that are known, by a mark."""


def default_system(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """What the chat template puts before a conversation that has no system message of its own, if it does."""
    marked = "a question that stands nowhere else"
    (shown,) = TemplateProcess(tokenizer).render([[{"role": "user", "content": marked}]], (), answer=False)
    found = re.search(r"system\W*\n+(.*?)<\|", shown.partition(marked)[0], re.DOTALL)
    return found[1].strip() if found and found[1].strip() else None


def write_modelfile(path: Path, gguf: Path, *, chat_template: str, system: str | None) -> None:
    """Names the GGUF file, the template in Ollama's words and where an answer ends.

    Raises:
        ModelError: a chat template of a family that is not known here.
    """
    known = next((known for mark, known in TEMPLATES.items() if mark in chat_template), None)
    if known is None:
        raise ModelError(
            "its chat template cannot be put into Ollama's words here",
            where=str(gguf),
            remedy="export `--to gguf`: llama.cpp reads the template as it is",
        )
    template, stops = known
    lines = [f"FROM ./{gguf.name}", f'TEMPLATE """{template}"""']
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines.append("PARAMETER temperature 0")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
