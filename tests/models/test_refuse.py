"""Folders that carry code, pickles or nonsense are refused by name, before any library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etude.errors import EtudeError, ModelError, Problems
from etude.models.load import load
from etude.models.refuse import CODE_KEYS, KERNEL_KEYS, PICKLED, inspect_folder, known_architecture

ATTACK = "raise SystemExit('the code in the folder ran')\n"


def set_keys(folder: Path, file: str = "config.json", **keys: Any) -> None:
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | keys))


def test_an_ordinary_folder_is_accepted(base: Path) -> None:
    inspect_folder(base)
    assert known_architecture(base) == "llama"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json", "other.json"])
@pytest.mark.parametrize("key", sorted(CODE_KEYS))
def test_every_key_that_carries_code_is_refused_by_name(base: Path, key: str, file: str) -> None:
    set_keys(base, file, **{key: "attack.Model"})
    with pytest.raises(Problems, match=f"{file}: the key '{key}'"):
        inspect_folder(base)


@pytest.mark.parametrize("depth", [1, 60])
def test_a_key_is_found_however_deep_it_lies(base: Path, depth: int) -> None:
    nested: Any = {"auto_map": {"AutoModel": "attack.Model"}}
    for level in range(depth):
        nested = [nested] if level % 2 else {"text_config": nested}
    set_keys(base, text_config=nested)
    with pytest.raises(Problems, match="'auto_map'"):
        inspect_folder(base)


@pytest.mark.parametrize("key", sorted(KERNEL_KEYS))
@pytest.mark.parametrize("value", ["someone/kernel", {"": "someone/kernel"}, {"text_config": "someone/kernel@v2:f"}])
def test_kernels_from_the_hub_are_code(base: Path, key: str, value: Any) -> None:
    set_keys(base, **{key: value})
    with pytest.raises(Problems, match=f"'{key}'"):
        load(str(base))


@pytest.mark.parametrize("keys", [{"auto_map": None}, {"trust_remote_code": False}, {"_attn_implementation": "sdpa"}])
def test_keys_that_switch_code_off_do_no_harm(base: Path, keys: dict[str, Any]) -> None:
    set_keys(base, **keys)
    inspect_folder(base)


@pytest.mark.parametrize("place", ["modeling_attack.py", "inner/deeper/attack.py"])
def test_a_python_file_is_refused(base: Path, place: str) -> None:
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / place).write_text(ATTACK)
    with pytest.raises(Problems, match=place):
        load(str(base))


@pytest.mark.parametrize("suffix", PICKLED)
def test_pickled_weights_alone_are_refused(base: Path, suffix: str) -> None:
    (base / "model.safetensors").rename(base / f"pytorch_model{suffix}")
    with pytest.raises(Problems, match=rf"only pickled weights \(pytorch_model\{suffix}\)"):
        inspect_folder(base)


def test_no_weights_at_all_are_named(base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(Problems, match=r"no \.safetensors weights"):
        inspect_folder(base)


def test_pickles_beside_safetensors_are_left_alone(base: Path) -> None:
    (base / "optimizer.pt").write_bytes(b"\x80\x04.")
    assert load(str(base)).packs


@pytest.mark.parametrize("text", ["{", "", '{"a": 1}}', "[" * 100_000], ids=["open", "empty", "twice", "deep"])
def test_broken_json_is_refused(base: Path, text: str) -> None:
    (base / "tokenizer_config.json").write_text(text)
    with pytest.raises(Problems, match=r"tokenizer_config.json: cannot be read as JSON"):
        inspect_folder(base)


def test_bytes_that_are_no_text_are_refused(base: Path) -> None:
    (base / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(Problems, match=r"config.json: cannot be read as JSON"):
        inspect_folder(base)


def test_an_adapters_folder_is_no_base_model(base: Path) -> None:
    """transformers would quietly load the model that the adapter names instead, which nobody has inspected."""
    set_keys(base, "adapter_config.json", peft_type="LORA", base_model_name_or_path="someone/else")
    with pytest.raises(Problems, match=r"adapter_config.json: an adapter"):
        load(str(base))


def test_all_problems_come_at_once(base: Path) -> None:
    set_keys(base, auto_map={"AutoModel": "attack.Model"}, trust_remote_code=True)
    (base / "attack.py").write_text(ATTACK)
    (base / "generation_config.json").write_text("{")
    (base / "model.safetensors").rename(base / "model.bin")
    with pytest.raises(Problems) as caught:
        load(str(base))
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    for part in ("attack.py", "'auto_map'", "'trust_remote_code'", "generation_config.json", "model.bin"):
        assert part in text


@pytest.mark.parametrize("model_type", ["made_up", None, 3, ["llama"]])
def test_an_unknown_architecture_is_named(base: Path, model_type: Any) -> None:
    set_keys(base, model_type=model_type)
    with pytest.raises(ModelError, match="unknown model_type"):
        load(str(base))


@pytest.mark.parametrize("content", ["[]", "3", "null", '"llama"'])
def test_a_config_that_is_no_object_is_refused(base: Path, content: str) -> None:
    (base / "config.json").write_text(content)
    with pytest.raises(ModelError, match="unknown model_type"):
        load(str(base))


def test_a_folder_without_config_is_refused(base: Path) -> None:
    (base / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(str(base))


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(EtudeError, match="no such folder"):
        inspect_folder(tmp_path / "gone")
