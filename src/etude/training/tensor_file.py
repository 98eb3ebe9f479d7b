"""Safetensors files, written piece by piece: no second copy in memory, hashed while on their way to the disk.

Format: https://huggingface.co/docs/safetensors (8 bytes header length, JSON header, raw little-endian tensors).
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from etude.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

PIECE_BYTES = 1 << 24

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def num_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors' contents."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of one safetensors file holding the tensors, the same for the same content, whatever their order.

    Raises CheckpointError for a type of number that the format does not know.
    """
    # widest numbers first keeps every tensor aligned, as the library's own writer does
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{name} holds {tensor.dtype}, which safetensors cannot store")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        yield from _content(tensors[name])


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises CheckpointError when it is none."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"no safetensors file: {error}", where=str(path)) from error


def _content(tensor: Tensor) -> Iterator[memoryview]:
    if not tensor.numel():
        return
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    whole = flat.numpy().data
    for start in range(0, len(whole), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]
