"""An adapter's folder: adapter_config.json and adapter_model.safetensors, as PEFT, vLLM and llama.cpp read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE_HASH = "etude_base_hash"
"""Key in the safetensors header: PEFT would warn of an unknown key in its config."""
BASE_HELD_AS = "etude_base_held_as"
"""Likewise: in how few bits the base was held, where it was."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of a model's layers."""


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    base_hash: str | None,
    base_held_as: str | None = None,
) -> None:
    """Writes both files, durably; the weights' header says which base they belong to, and how it was held."""
    from safetensors.torch import save

    from etude.durable import write_bytes, write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, dict(config))
    says = {BASE_HASH: base_hash, BASE_HELD_AS: base_held_as}
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"format": "pt", **{key: value for key, value in says.items() if value}},
    )
    write_bytes(folder / WEIGHTS, _in_fixed_order(content))


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's description.

    Raises:
        ModelError: it is missing or no JSON object.
    """
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{CONFIG} cannot be read ({error})", where=str(folder)) from error
    if not isinstance(found, dict):
        raise ModelError(f"{CONFIG} is no JSON object", where=str(folder))
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors by name.

    Raises:
        ModelError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{WEIGHTS} cannot be read ({error})", where=str(folder)) from error


def read_header(folder: Path) -> dict[str, str]:
    """What the weights' header says of the base.

    Raises:
        ModelError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{WEIGHTS} cannot be read ({error})", where=str(folder)) from error


def refuse_other_base(folder: Path, base_hash: str) -> None:
    """
    Raises:
        ModelError: the adapter says that it belongs to another base model than the one of this hash.
    """
    expected = read_header(folder).get(BASE_HASH)
    if expected is not None and expected != base_hash:
        raise ModelError(
            f"made for another base model (hash {expected[:12]}, this one is {base_hash[:12]})", where=str(folder)
        )


def _in_fixed_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes them in an order that changes by chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]
