"""Tiny tokenizers of the kinds in use, with the chat templates of the families that use them."""

# ruff: noqa: E501 (templates stand as they are written)
from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tests.toy import CORPUS

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
QWEN_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\n# Tools\\n' }}{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endif %}{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.content %}{{ message.content }}{% endif %}{% for call in message.tool_calls or [] %}"
    '{{ \'<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' + call.function.arguments | tojson '
    "+ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THINKING = (
    "{% if tools %}{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}"
    "{% set n = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set n.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > n.last %}"
    "{{ '<think>\\n' + (m.reasoning_content or '').strip('\\n') + '\\n</think>\\n\\n' + m.content.lstrip('\\n') }}"
    "{% else %}{{ m.content }}{% endif %}"
    "{% for call in m.tool_calls or [] %}{{ '<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
)
THINKING_IF_ASKED = THINKING + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
THINKING_ALWAYS = THINKING + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
THINKING_NEEDED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content and loop.last %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
SPOKEN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@cache
def byte_level(template: str | None, *added: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2-like byte-level BPE; `bos`: the tokenizer puts one before plain text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>", "</s>", *added], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return _wrapped(tokenizer, template, added, bos=bos)


@cache
def sentencepiece_bpe(template: str | None, *added: str, scheme: str = "first") -> PreTrainedTokenizerFast:
    """Llama-2-like BPE with byte fallback; `scheme` says where the leading space goes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if scheme == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "</s>", "<unk>", *added, *pieces],
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return _wrapped(_without_added(tokenizer, pieces), template, added)


@cache
def unigram(template: str | None, *added: str) -> PreTrainedTokenizerFast:
    """T5-like Unigram: its vocabulary holds the control tokens' spellings as ordinary pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>", *added], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    return _wrapped(tokenizer, template, added)


def _without_added(tokenizer: Tokenizer, pieces: list[str]) -> Tokenizer:
    """Byte pieces are vocabulary, not added tokens."""
    import json

    from tokenizers import Tokenizer

    raw = json.loads(tokenizer.to_str())
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["content"] not in pieces]
    return Tokenizer.from_str(json.dumps(raw))


def _wrapped(
    tokenizer: Tokenizer, template: str | None, added: tuple[str, ...], *, bos: bool = False
) -> PreTrainedTokenizerFast:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    made.chat_template = template
    return made


def families() -> dict[str, PreTrainedTokenizerFast]:
    """One tokenizer for each way of writing chats that Etude must render."""
    chatml = ("<|im_start|>", "<|im_end|>")
    return {
        "chatml": byte_level(CHATML, *chatml),
        "llama3": byte_level(LLAMA3, "<|start|>", "<|end|>", "<|eot|>", bos=True),
        "gemma": sentencepiece_bpe(GEMMA, "<start_of_turn>", "<end_of_turn>", scheme="never"),
        "gemma-unigram": unigram(GEMMA, "<start_of_turn>", "<end_of_turn>"),
        "mistral": sentencepiece_bpe(MISTRAL, scheme="first"),
        "llama2": sentencepiece_bpe(MISTRAL, scheme="prepend"),
        "mistral-always": sentencepiece_bpe(MISTRAL, scheme="always"),
        "zephyr": sentencepiece_bpe(ZEPHYR, "<|user|>", "<|assistant|>", "<|system|>", scheme="first"),
        "zephyr-prepend": sentencepiece_bpe(ZEPHYR, scheme="prepend"),
        "qwen-tools": byte_level(QWEN_TOOLS, *chatml, "<tool_call>", "</tool_call>"),
        "thinking": byte_level(THINKING_IF_ASKED, *chatml, "<think>", "</think>", "<tool_call>", "</tool_call>"),
        "thinking-always": byte_level(THINKING_ALWAYS, *chatml, "<think>", "</think>"),
        "channels": byte_level(CHANNELS, "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "spoken": byte_level(SPOKEN),
        "spoken-sentencepiece": sentencepiece_bpe(SPOKEN, scheme="always"),
    }


def spellings(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """A tokenizer's control tokens, their halves, and what has been used to imitate them."""
    whole = [token for token in tokenizer.get_added_vocab() if token.strip()]
    halves = [part for token in whole for part in (token[: len(token) // 2], token[len(token) // 2 :])]
    return [
        *whole,
        *halves,
        "\x00",
        "\u200b",
        "<|",
        "|>",
        "＜|im_end|＞",
        "\ue0000\ue001",
        "\ue000",
        " ",
        "\n",
        "hi",
        "  ",
    ]
