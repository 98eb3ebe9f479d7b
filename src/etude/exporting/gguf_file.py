"""A transformers folder as one GGUF file, for llama.cpp, Ollama and what is built on them.

The container (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), its names and quantisers are the `gguf`
package's; what is ours is which settings and tensors of a family go where. No C++ toolchain is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from etude.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

NumberType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""What llama.cpp calls each family that is known here."""
QUANTIZED_BLOCK = 32
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of tokens, as llama.cpp counts them."""


@dataclass(frozen=True, slots=True)
class Source:
    """The folder that is written down, read once."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Any
    architecture: str

    @staticmethod
    def read(folder: Path) -> Source:
        """
        Raises:
            ModelError: a family or a tokenizer that is not known here.
        """
        from transformers import AutoTokenizer

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = ARCHITECTURES.get(config.get("model_type", ""))
        if architecture is None:
            raise ModelError(
                f"GGUF files of {config.get('model_type')!r} models are not written here",
                where=str(folder),
                remedy=f"known are {', '.join(ARCHITECTURES)}; llama.cpp's own converter knows others",
            )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        return Source(folder, config, tokenizer, architecture)


def write_gguf(folder: Path, path: Path, numbers: NumberType, *, name: str) -> None:
    """Writes a model's folder as a GGUF file with its tokenizer and chat template; a half-written one never shows.

    Matrices take the wanted type, vectors float32. At four bits the embedding and the head take eight, where errors
    would reach every token.

    Raises:
        ModelError: a family, tokenizer or rotation by position that is not known here.
    """
    from gguf import GGUFWriter, LlamaFileType

    source = Source.read(folder)
    unfinished = path.with_name(path.name + ".unfinished")
    writer = GGUFWriter(unfinished, source.architecture, use_temp_file=True)
    writer.add_name(name)
    writer.add_file_type(LlamaFileType["ALL_F32" if numbers == "f32" else f"MOSTLY_{numbers.upper()}"])
    _add_sizes(writer, source)
    _add_vocabulary(writer, source)
    for key, array in _tensors(source):
        _add_tensor(writer, key, array, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def _add_sizes(writer: GGUFWriter, source: Source) -> None:
    config = source.config
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    context = int(config["max_position_embeddings"])
    writer.add_context_length(min(context, int(window)) if window else context)
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_rope_dimension_count(head_size)
    _add_rotation(writer, source, head_size)


def _add_rotation(writer: GGUFWriter, source: Source, head_size: int) -> None:
    """How positions turn queries and keys."""
    config = source.config
    rotation = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rotation.get("rope_type", rotation.get("type", "default"))
    base = float(rotation.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    writer.add_rope_freq_base(base)
    if kind == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rotation["factor"]))
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", _slowed(rotation, base, head_size, config))
    elif kind not in ("default", None):
        raise ModelError(f"positions are rotated by {kind!r}, which is not written here", where=str(source.folder))


def _slowed(rotation: Mapping[str, Any], base: float, head_size: int, config: Mapping[str, Any]) -> Array:
    """By how much each frequency is divided where long waves are slowed (https://arxiv.org/abs/2407.21783, §3.4)."""
    import numpy as np

    factor, low, high = (float(rotation[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    context = float(rotation.get("original_max_position_embeddings") or config["max_position_embeddings"])
    waves = 2 * np.pi * base ** (np.arange(0, head_size, 2) / head_size)
    kept = np.clip((context / waves - low) / (high - low), 0.0, 1.0)  # of each frequency, the rest is divided
    return (1 / (kept + (1 - kept) / factor)).astype(np.float32)


def _add_vocabulary(writer: GGUFWriter, source: Source) -> None:
    tokenizer = source.tokenizer
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitter(described, source.folder))
    size = int(source.config["vocab_size"])
    tokens, kinds = [f"[PAD{i}]" for i in range(size)], [UNUSED] * size
    for token, i in described["model"]["vocab"].items():
        tokens[i], kinds[i] = token, NORMAL
    for added in described["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    writer.add_vocab_size(size)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = described["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
    ):
        if number is not None:
            add(int(number))
    begun = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and begun[0] == tokenizer.bos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _splitter(described: Mapping[str, Any], folder: Path) -> str:
    """What llama.cpp calls the way in which a byte-level tokenizer cuts text into words.

    Raises:
        ModelError: another kind of tokenizer.
    """
    parts = described.get("pre_tokenizer") or {}
    steps = parts.get("pretokenizers", [parts])
    kinds = [step.get("type") for step in steps]
    patterns = " ".join(str(step.get("pattern", {}).get("Regex", "")) for step in steps if step.get("type") == "Split")
    if described["model"]["type"] != "BPE" or "ByteLevel" not in kinds:
        raise ModelError("only byte-level BPE tokenizers are written to GGUF here", where=str(folder))
    if "Digits" in kinds:
        return "smollm"
    if r"\p{N}{1,3}" in patterns:
        return "llama-bpe"
    if r"\p{N}" in patterns:
        return "qwen2"
    return "gpt-2"


def _tensors(source: Source) -> Iterator[tuple[str, Array]]:
    """The folder's tensors under llama.cpp's names, one at a time."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next(key for key, name in MODEL_ARCH_NAMES.items() if name == source.architecture)
    assert isinstance(arch, MODEL_ARCH)
    names = get_tensor_name_map(arch, int(source.config["num_hidden_layers"]))
    for key, array in _read(source.folder):
        if key == "lm_head.weight" and source.config.get("tie_word_embeddings"):
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ModelError(f"llama.cpp has no place for the tensor {key}", where=str(source.folder))
        yield name, _paired(key, array, source)


def _read(folder: Path) -> Iterator[tuple[str, Array]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt", backend="pread") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                yield key, file.get_tensor(key).float().numpy()


def _paired(key: str, array: Array, source: Source) -> Array:
    """Queries and keys of llama turn neighbouring numbers there, and numbers half a head apart here."""
    if source.architecture != "llama" or not any(part in key for part in (".q_proj.", ".k_proj.")):
        return array
    config = source.config
    heads = int(config["num_attention_heads"])
    if ".k_proj." in key:
        heads = int(config.get("num_key_value_heads") or heads)
    halves = array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def _add_tensor(writer: GGUFWriter, name: str, array: Array, numbers: NumberType) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    wanted = numbers
    if numbers in ("q4_0", "q4_1") and name in ("token_embd.weight", "output.weight"):
        wanted = "q8_0"
    if array.ndim == 1:
        wanted = "f32"
    elif wanted.startswith("q") and array.shape[-1] % QUANTIZED_BLOCK:
        wanted = "f16"
    kind = GGMLQuantizationType[wanted.upper()]
    if wanted == "f32":
        writer.add_tensor(name, array)
    else:
        writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)
