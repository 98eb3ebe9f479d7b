"""Texts as vectors by an embedding model: the mean of its last hidden states, as sentence-transformers takes it.

Letters: B texts, T tokens, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from etude.errors import ModelError
from etude.models.load import load_tokenizer, own_device
from etude.models.source import find_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OnProgress = Callable[[int, int], None]
TEXTS_AT_ONCE = 64
LONGEST = 512
"""Tokens of a text that are read, where the model's folder sets no limit."""


class Embedder(Protocol):
    """Texts to unit vectors [texts, D]."""

    def __call__(self, texts: Sequence[str], on_progress: OnProgress = ..., /) -> NDArray[np.float32]:
        """`on_progress(done, total)` is told of each batch."""
        ...


def load_embedder(name: str) -> Embedder:
    """A function from texts to unit vectors [texts, D], by a local folder or a hub id.

    Raises:
        ModelError: no such model, one that cannot be loaded, or one that asks for another pooling than the mean.
        Problems: the folder carries code or only pickled weights.
    """
    folder = find_folder(name)
    _refuse_other_pooling(folder)
    tokenizer, limit = load_tokenizer(name), _limit(folder)
    model = _read_model(folder)

    def embed(texts: Sequence[str], on_progress: OnProgress = lambda done, total: None, /) -> NDArray[np.float32]:
        import numpy as np

        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        made = np.zeros((len(texts), int(model.config.hidden_size)), dtype=np.float32)
        for start in range(0, len(order), TEXTS_AT_ONCE):
            batch = order[start : start + TEXTS_AT_ONCE]
            given = tokenizer(
                [texts[at] for at in batch], padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(model.device)
            with torch.inference_mode():
                hidden_BTD = model(**given).last_hidden_state.float()
            mask_BT1 = given["attention_mask"].unsqueeze(-1)
            mean_BD = (hidden_BTD * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)
            made[batch] = torch.nn.functional.normalize(mean_BD, dim=1).cpu().numpy()
            on_progress(start + len(batch), len(order))
        return made

    return embed


def _read_model(folder: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"not a loadable embedding model ({reason})", where=str(folder)) from error
    return model.eval().requires_grad_(False).to(own_device())


def _refuse_other_pooling(folder: Path) -> None:
    """ModelError if the folder says that its vectors are made in another way."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    other = [
        name
        for name, on in held.items()
        if name.startswith("pooling_mode_") and on and name != "pooling_mode_mean_tokens"
    ]
    if other:
        raise ModelError(f"its vectors need {other[0]}", where=str(path), remedy="use a model with mean pooling")


def _limit(folder: Path) -> int:
    path = folder / "sentence_bert_config.json"
    held = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.is_file() else None
    return held if isinstance(held, int) else LONGEST
