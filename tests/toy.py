"""Tiny random models and a ChatML tokenizer, made in milliseconds: logic is tested on these."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from etude.models.loaded import LoadedModel

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "Classify the banking query into its intent.",
    "my card has not arrived",
    '{"intent": "refund", "urgency": "high"}',
    "What is the capital of France? Paris.",
    "system user assistant tool",
    "0123456789",
]


@cache
def toy_tokenizer(vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE with SmolLM2's control tokens and a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        chat_template=CHATML,
    )


def toy_module(*, seed: int = 0, layers: int = 2, hidden: int = 48, tied: bool = True) -> PreTrainedModel:
    """A random llama in float32 with the toy tokenizer's vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(toy_tokenizer()),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).float().eval()


def toy_loaded(*, seed: int = 0, layers: int = 2, hidden: int = 48, tied: bool = True) -> LoadedModel:
    """The random llama as a LoadedModel."""
    from etude.models import fused
    from etude.models.attention import IMPLEMENTATION, register_tree_attention
    from etude.models.loaded import LoadedModel, Way

    register_tree_attention()
    module = toy_module(seed=seed, layers=layers, hidden=hidden, tied=tied).requires_grad_(False)
    module.set_attn_implementation(IMPLEMENTATION)
    way: Way = "fused" if fused.prepare(module) else "tree"
    return LoadedModel(
        name="toy", module=module, tokenizer=toy_tokenizer(), folder=Path("toy"), base_hash=f"toy-{seed}", way=way
    )
