"""The model that learns: a base model with a technique attached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import ModelError
from etude.models.loaded import LoadedModel
from etude.techniques.base import Technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Policy:
    """A model, what is attached to it, and which of its weights learn."""

    model: LoadedModel
    technique: Technique
    trainable: Mapping[str, nn.Parameter]

    @property
    def name(self) -> str:
        return f"{self.model.name} + {type(self.technique).__name__}"

    @property
    def base(self) -> Before:
        """The model as it was before training, sharing this one's memory."""
        return Before(self)

    @property
    def num_trainable(self) -> int:
        """Numbers that learn."""
        return sum(parameter.numel() for parameter in self.trainable.values())

    def use(self) -> AbstractContextManager[LoadedModel]:
        return self.model.use()

    def save(self, folder: Path) -> None:
        """Writes what was learned."""
        self.technique.save(self.model, folder)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        self.technique.load(self.model, folder)

    def merge(self) -> LoadedModel:
        """The plain model that answers the same; the policy cannot be trained further."""
        self.technique.merge(self.model)
        return self.model


@dataclass(frozen=True, slots=True)
class Before:
    """A policy's model as it was before training; inside `use` the policy must not be trained."""

    policy: Policy

    @property
    def name(self) -> str:
        return self.policy.model.name

    @contextmanager
    def use(self) -> Iterator[LoadedModel]:
        with self.policy.technique.without(self.policy.model):
            yield self.policy.model


def attach(technique: Technique, model: LoadedModel, *, seed: int = 0) -> Policy:
    """A policy: the technique's weights learn, all others are frozen. Changes the model in place.

    Raises:
        ConfigError: a target layer that the model does not have.
        ModelError: the model has no layers for this technique, or one is attached already.
    """
    model.module.requires_grad_(False)
    return Policy(model=model, technique=technique, trainable=technique.attach(model, seed=seed))


def attach_adapter(folder: Path, model: LoadedModel) -> Policy:
    """A policy from an adapter folder in PEFT's format.

    Raises:
        ModelError: not a LoRA adapter, or one for another base model.
    """
    from safetensors import safe_open

    from etude.techniques.lora import BASE_HASH, from_peft

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        expected = (file.metadata() or {}).get(BASE_HASH)
    if expected is not None and expected != model.base_hash:
        raise ModelError(
            f"made for another base model (hash {expected[:12]}, this one is {model.base_hash[:12]})", where=str(folder)
        )
    policy = attach(from_peft(config, where=str(folder)), model)
    policy.load(folder)
    return policy
