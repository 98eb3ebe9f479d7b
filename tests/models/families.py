"""Tiny random models of many families, with windows and chunks shorter than the rows used on them."""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers as T

from etude.models.attention import follow

SIZES: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WITHOUT_GQA = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
CONTROL = {name: SIZES[name] for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
GPT_STYLE = {**CONTROL, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}
GEMMA_LIKE = {**SIZES, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16}
MOE = {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA = {**CONTROL, "hidden_size": 64, "num_hidden_layers": 2}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 33, "factor": 4.0,
    "short_factor": [1.0] * 8, "long_factor": [3.0] * 8,
}  # fmt: skip

PACKED: dict[str, T.PreTrainedConfig] = {
    "llama": T.LlamaConfig(**SIZES),
    "qwen2": T.Qwen2Config(**SIZES),
    "qwen2 windowed": T.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": T.Qwen3Config(**SIZES, head_dim=16),
    "mistral": T.MistralConfig(**SIZES, sliding_window=6),
    "gemma2": T.Gemma2Config(**GEMMA_LIKE, attn_logit_softcapping=2.0),
    "gemma3": T.Gemma3TextConfig(**GEMMA_LIKE),
    "phi": T.PhiConfig(**{**SIZES, "num_key_value_heads": 4}),
    "phi3": T.Phi3Config(**SIZES),
    "phi3 windowed": T.Phi3Config(**SIZES, sliding_window=6),
    "gpt2": T.GPT2Config(**GPT_STYLE),
    "gpt_neox": T.GPTNeoXConfig(**WITHOUT_GQA),
    "smollm3": T.SmolLM3Config(**SIZES),
    "olmo2": T.Olmo2Config(**SIZES),
    "cohere": T.CohereConfig(**SIZES, logit_scale=0.25),
    "granite": T.GraniteConfig(**SIZES, logits_scaling=3.0),
    "mixtral": T.MixtralConfig(**MOE),
    "longrope": T.Phi3Config(**SIZES, original_max_position_embeddings=33, rope_parameters=LONGROPE),
    "dynamic": T.LlamaConfig(
        **{**SIZES, "max_position_embeddings": 33},
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    ),
}
"""Families that share prefixes; the last two do it up to the length beyond which they turn rows by the longest one."""
UNPACKED: dict[str, tuple[T.PreTrainedConfig, str]] = {
    "mamba": (T.MambaConfig(**MAMBA), "has no attention"),
    "jamba": (
        T.JambaConfig(
            **MOE, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, mamba_d_state=8, mamba_dt_rank=4,
        ),
        "own masks or state",
    ),
    "lfm2": (T.Lfm2Config(**SIZES, layer_types=["conv", "full_attention", "conv"]), "own masks or state"),
    "bloom": (T.BloomConfig(**CONTROL, hidden_size=64, n_layer=3, n_head=4), "in its own way"),
    "mpt": (
        T.MptConfig(**CONTROL, d_model=64, n_layers=3, n_heads=4, expansion_ratio=2, max_seq_len=128),
        "in its own way",
    ),
    "falcon with alibi": (
        T.FalconConfig(**WITHOUT_GQA, alibi=True, new_decoder_architecture=False, multi_query=True),
        "in its own way",
    ),
    "gpt_neo": (
        T.GPTNeoConfig(
            **CONTROL, hidden_size=64, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
            window_size=6, max_position_embeddings=128, intermediate_size=96,
        ),
        "in its own way",
    ),
    "gptj": (T.GPTJConfig(**GPT_STYLE, rotary_dim=8), "in its own way"),
    "gpt_oss": (T.GptOssConfig(**MOE, head_dim=16, sliding_window=6), "attends with s_aux"),
}  # fmt: skip
"""Families that cannot share prefixes, and why."""


def family(name: str) -> T.PreTrainedModel:
    """A random model, as `models.load` leaves it before the probe."""
    torch.manual_seed(0)
    config = PACKED[name] if name in PACKED else UNPACKED[name][0]
    module = T.AutoModelForCausalLM.from_config(copy.deepcopy(config)).float().eval()
    for weight in module.parameters():
        weight.data += 0.1 * torch.randn_like(weight)  # norms and biases start as ones and zeros, which hide mistakes
    follow(module)
    return module


def forget_long_rows(module: T.PreTrainedModel) -> None:
    """`dynamic` remembers the longest row that it has read, until it reads a short one."""
    with torch.no_grad():
        module(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=False)
