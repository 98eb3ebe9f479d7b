"""Loading a base model or its tokenizer by name; the probe proves that packing is exact for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from etude.errors import ModelError
from etude.models import kernels
from etude.models.attention import follow
from etude.models.layers.held import HeldLinear
from etude.models.loaded import LoadedModel
from etude.models.options import Held, ModelOptions, Precision
from etude.models.precision import dtype_of
from etude.models.probe import proven_way
from etude.models.products import computes_in_bfloat16
from etude.models.refuse import inspect_folder, known_architecture
from etude.models.source import find_folder, folder_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def precision_name(setting: Precision) -> Precision:
    """The setting with `auto` decided for this machine."""
    if setting == "auto":
        return "bfloat16" if computes_in_bfloat16() else "float32"
    return setting


def own_device() -> torch.device:
    """This process's GPU where there is one (torchrun gives each process its own), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelError: unknown name, unreachable hub, or a folder without a tokenizer.
        Problems: the folder carries code or only pickled weights.
    """
    return _read_tokenizer(find_folder(name, revision=revision))


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer

    known_architecture(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ModelError(f"no usable tokenizer ({_first_line(error)})", where=str(folder)) from error
    return tokenizer


def load(model: str | ModelOptions, *, held: Held | None = None) -> LoadedModel:
    """A causal language model with its tokenizer, frozen and in evaluation mode.

    With `held` its linear layers but the head are rounded to few bits as each is read: memory never holds them whole.

    Raises:
        ModelError: unknown name, unreachable hub, not a causal language model, or an unsupported head.
        Problems: the folder carries code or only pickled weights.
    """
    options = ModelOptions(name=model) if isinstance(model, str) else model
    folder = find_folder(options.name, revision=options.revision)
    tokenizer = _read_tokenizer(folder)
    module = _read_module(folder, DTYPES[precision_name(options.precision)], held)
    module.eval().requires_grad_(False).to(own_device())
    way = proven_way(module, where=options.name)
    kernels.give_back_memory()
    return LoadedModel(
        name=options.name,
        module=module,
        tokenizer=tokenizer,
        folder=folder,
        base_hash=folder_hash(folder),
        way=way,
        checkpointing=options.activation_checkpointing,
    )


def _read_module(folder: Path, dtype: torch.dtype, held: Held | None = None) -> PreTrainedModel:
    """The model of an inspected folder; transformers would fill weights that are missing with random numbers."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    unreadable = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError)
    try:
        loaded = _from_files(folder, dtype, held)
    except (*unreadable, StrictDataclassError) as error:
        raise ModelError(f"not a loadable causal language model ({_first_line(error)})", where=str(folder)) from error
    module, how = loaded
    missing = sorted(how["missing_keys"])
    if missing:
        raise ModelError(
            f"{len(missing)} weights are missing from its files: {', '.join(missing[:3])}{', …' * (len(missing) > 3)}",
            where=str(folder),
            remedy="copy or save the model again",
        )
    follow(module)
    return cast("PreTrainedModel", module)


def _from_files(folder: Path, dtype: torch.dtype, held: Held | None) -> Any:
    """What transformers reads from the folder: the model, and how its weights were found.

    Weights are read tensor by tensor: transformers alone would map the files, and mapped pages count as this process's
    memory until the last tensor is read. Where it has to see the files itself (quantized weights) it still does.
    """
    from safetensors import safe_open
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, GenerationConfig

    asked: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(str(folder), **here)
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    quantized = getattr(config, "quantization_config", None) is not None
    if model_class is None or isinstance(model_class, tuple) or quantized:
        if held is not None:
            raise ModelError("its weights cannot be rounded as they are read", where=str(folder))
        return AutoModelForCausalLM.from_pretrained(str(folder), use_safetensors=True, **here, **asked)
    files: list[Any] = [safe_open(path, framework="pt", backend="pread") for path in _weight_files(folder)]
    slices = {key: file.get_slice(key) for file in files for key in file.keys()}  # noqa: SIM118 - not a dict
    if (folder / "generation_config.json").exists():
        asked["generation_config"] = GenerationConfig.from_pretrained(str(folder), **here)
    if held is None:
        return model_class.from_pretrained(None, config=config, state_dict=slices, **asked)
    names = _linear_names(model_class, config, slices)
    empty = {
        f"{name}.weight": torch.zeros((), dtype=dtype).expand(slices[f"{name}.weight"].get_shape()) for name in names
    }
    module, how = model_class.from_pretrained(None, config=config, state_dict=slices | empty, **asked)
    for name in names:
        linear = module.get_submodule(name)
        rounded = HeldLinear(slices[f"{name}.weight"][...], linear.bias, held=held, dtype=dtype)
        module.set_submodule(name, rounded)
        kernels.give_back_memory()  # else what each layer took on the way stays beside all that follow
    return module, how


def _linear_names(model_class: Any, config: Any, slices: Mapping[str, Any]) -> list[str]:
    """The linear layers but the head whose weights the files hold under the model's own names."""
    with torch.device("meta"):
        outline = model_class(config)
    head = outline.get_output_embeddings()
    named = [(n, m) for n, m in outline.named_modules() if type(m) is torch.nn.Linear and m is not head]
    return [name for name, _ in named if f"{name}.weight" in slices]


def _weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files: one, or those that its index names."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / Path(part).name for part in sorted(set(parts))]


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def reload_weights(model: LoadedModel, folder: Path) -> None:
    """Copies a folder's weights into a loaded model of the same shape, in place.

    Raises:
        ModelError: the folder is gone, or its weights do not fit; the model is then as it was.
        Problems: the folder carries code or only pickled weights.
    """
    inspect_folder(folder)
    fresh = _read_module(folder, dtype_of(model.module))
    theirs, ours = fresh.state_dict(), model.module.state_dict()
    shapes = {(name, tensor.shape) for name, tensor in theirs.items()} ^ {(n, t.shape) for n, t in ours.items()}
    if shapes:
        raise ModelError(f"its weights do not fit {model.name} ({min(shapes)[0]})", where=str(folder))
    model.module.load_state_dict(theirs)
