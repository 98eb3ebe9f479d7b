"""Tiny random models of many families, their sliding windows shorter than the prompts used on them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from etude.models import fused
from etude.models.loaded import LoadedModel, Way
from tests.toy import toy_tokenizer

VOCABULARY = len(toy_tokenizer())
CONTROL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA_LIKE: dict[str, Any] = {
    **CONTROL, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
GEMMA_LIKE = {**LLAMA_LIKE, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16}
SINKS = {**LLAMA_LIKE, "head_dim": 16, "sliding_window": 6, "num_local_experts": 4, "num_experts_per_tok": 2}
NEOX = {name: value for name, value in LLAMA_LIKE.items() if name != "num_key_value_heads"}
MAMBA = {**CONTROL, "hidden_size": 32, "num_hidden_layers": 2}

BY_POSITION: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", LLAMA_LIKE),
    "qwen2": ("Qwen2Config", LLAMA_LIKE),
    "qwen3": ("Qwen3Config", {**LLAMA_LIKE, "head_dim": 16}),
    "mistral": ("MistralConfig", {**LLAMA_LIKE, "sliding_window": 6}),
    "gemma2": ("Gemma2Config", GEMMA_LIKE),
    "gemma3": ("Gemma3TextConfig", GEMMA_LIKE),
    "phi": ("PhiConfig", {**LLAMA_LIKE, "num_key_value_heads": 4}),
    "phi3": ("Phi3Config", LLAMA_LIKE),
    "gpt2": ("GPT2Config", {**CONTROL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("GPTNeoXConfig", NEOX),
    "smollm3": ("SmolLM3Config", LLAMA_LIKE),
    "olmo2": ("Olmo2Config", LLAMA_LIKE),
    "cohere": ("CohereConfig", LLAMA_LIKE),
    "granite": ("GraniteConfig", LLAMA_LIKE),
    "mixtral": ("MixtralConfig", {**LLAMA_LIKE, "num_local_experts": 4}),
    "gpt_oss": ("GptOssConfig", SINKS),
}
"""Families that follow positions alone: decoded in padded batches."""
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": BY_POSITION["llama"],
    "mistral": BY_POSITION["mistral"],
    "gemma2": BY_POSITION["gemma2"],
    "mamba": ("MambaConfig", MAMBA),
    "bloom": ("BloomConfig", {**CONTROL, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "lfm2": ("Lfm2Config", LLAMA_LIKE),
}
"""Families with recurrent states or attention of their own, and some that can do both."""


FUSED = ("llama", "qwen2", "mistral")
"""Those of them that have a way of their own on a CPU; mistral's window is in reach, so it goes another one."""


@cache
def family(name: str, way: Way = "tree") -> LoadedModel:
    """A random model whose predictions are sharp enough that rounding does not decide."""
    kind, settings = (OTHERS if way == "rows" else BY_POSITION)[name]
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**settings)).float().eval()
    for weight in module.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.2)
    if way == "fused" and not fused.prepare(module):
        way = "tree"
    return LoadedModel(name=name, module=module, tokenizer=toy_tokenizer(), folder=Path(name), base_hash=name, way=way)
