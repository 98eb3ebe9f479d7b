"""Model folders are inspected before any library reads them: nothing that carries code, nothing pickled.

Config keys that make a library import code have been bypassed again and again (CVE-2025-66448, CVE-2026-22807,
CVE-2026-4372), so such a folder is refused by name rather than loaded "safely".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from etude.errors import ModelError, Problems

CODE_KEYS = frozenset(
    {
        "auto_map",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "trust_remote_code",
        "_target_",
        "custom_pipelines",
        "custom_code",
    }
)
KERNEL_KEYS = frozenset(
    {"attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"}
)
"""Harmless when they name a built-in; transformers downloads and runs `owner/repository`."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")


def inspect_folder(folder: Path) -> None:
    """Refuses a model folder that carries code, holds only pickled weights or has no usable config.

    Raises:
        ModelError: there is no such folder.
        Problems: with every reason found.
    """
    if not folder.is_dir():
        raise ModelError("no such folder", where=str(folder), remedy="check the path")
    found: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        found.append(f"{path.relative_to(folder)}: a model folder may not carry code; remove the file")
    if (folder / "adapter_config.json").exists():
        found.append("adapter_config.json: an adapter, which would load another model; name its base model instead")
    for path in sorted(folder.glob("*.json")):
        found += _problems_in_json(path)
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
        what = f"only pickled weights ({pickled[0]})" if pickled else "no .safetensors weights"
        found.append(f"{folder}: {what}; save the model as safetensors first")
    if found:
        raise Problems(f"the model folder {folder} is refused", found)


def _problems_in_json(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path.name}: cannot be read as JSON ({error})"]
    keys = sorted(set(_code_keys(content)))
    return [f"{path.name}: the key {key!r} would load code and is refused" for key in keys]


def _code_keys(content: object) -> Iterator[str]:
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                if (key in CODE_KEYS and value not in (None, False)) or (key in KERNEL_KEYS and _names_kernel(value)):
                    yield key
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _names_kernel(value: object) -> bool:
    names = value.values() if isinstance(value, dict) else (value,)
    return any(isinstance(name, str) and "/" in name for name in names)


def known_architecture(folder: Path) -> str:
    """The folder's `model_type`, known to the installed transformers.

    Raises:
        ModelError: there is no config.json or its `model_type` is unknown.
    """
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not path.is_file():
        raise ModelError("no config.json", where=str(folder), remedy="name a folder saved with save_pretrained")
    content = json.loads(path.read_text(encoding="utf-8"))
    model_type = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"unknown model_type {model_type!r}", where=str(path), remedy="use an architecture that transformers ships"
        )
    return model_type
