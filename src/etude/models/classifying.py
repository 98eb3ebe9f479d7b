"""The chance that a text is toxic, by any model that puts texts into classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from etude.errors import ModelError
from etude.models.load import load_tokenizer, own_device
from etude.models.source import find_folder

LONGEST = 512
HARMLESS = ("non", "not", "neutral", "safe", "normal", "acceptable", "ok", "clean", "benign", "harmless")
"""How the names of classes begin that mean nothing bad."""


def load_classifier(name: str) -> Callable[[Sequence[str]], list[float]]:
    """A function from texts to the chance that each is of a class that is not harmless, by a local folder or a hub id.

    Models with one class or with classes that do not exclude each other give the highest of their chances.

    Raises:
        ModelError: no such model, or one that does not classify texts.
        Problems: the folder carries code or only pickled weights.
    """
    folder = find_folder(name)
    tokenizer, model = load_tokenizer(name), _read_model(folder)
    names = [str(model.config.id2label[at]).casefold() for at in range(model.config.num_labels)]
    harmful = [at for at, label in enumerate(names) if not label.startswith(HARMLESS)]
    if len(names) == 2 and len(harmful) == 2:
        harmful = [1]  # by custom the class that is looked for comes second
    if not harmful:
        raise ModelError(f"no class is harmful: {', '.join(names)}", where=str(folder), remedy="use another classifier")
    together = model.config.problem_type == "multi_label_classification" or len(names) == 1

    def classify(texts: Sequence[str]) -> list[float]:
        given = tokenizer(list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        with torch.inference_mode():
            scores = model(**given.to(model.device)).logits.float()
        if together:
            return [float(chance) for chance in scores.sigmoid()[:, harmful].amax(dim=1)]
        return [float(chance) for chance in scores.softmax(dim=1)[:, harmful].sum(dim=1)]

    return classify


def _read_model(folder: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    try:
        model, how = AutoModelForSequenceClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"not a loadable classifier ({reason})", where=str(folder)) from error
    missing = sorted(how["missing_keys"])
    if missing:
        raise ModelError(f"it does not classify: {missing[0]} is missing", where=str(folder), remedy="use a classifier")
    return model.eval().requires_grad_(False).to(own_device())
