"""The model that learns: a base model with a technique attached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from etude.data.plain import PlainTokenizer
from etude.errors import ModelError
from etude.models.layers.held import held_layers
from etude.models.loaded import LoadedModel, Subject
from etude.techniques import PEFT_TYPES, TECHNIQUES, adapter_files, own_format
from etude.techniques.base import Survey, Technique, generator_of

if TYPE_CHECKING:
    from torch import nn

    from etude.models.layers.value_head import ValueHead
    from etude.models.vocabulary import SharedVocabulary

VALUE_HEAD = "value_head"
"""Its name among the trainable weights."""
HEAD_FILE = "value_head.safetensors"


@dataclass(frozen=True, slots=True)
class Policy:
    """A model, what is attached to it, and which of its weights learn."""

    model: LoadedModel
    technique: Technique
    trainable: Mapping[str, nn.Parameter]
    teacher: Subject | None = None
    """A model to learn from, where an objective needs one."""
    shared: SharedVocabulary | None = None
    """How it reads this model's tokens, where its own are others."""

    @property
    def name(self) -> str:
        return f"{self.model.name} + {type(self.technique).__name__}"

    @property
    def base(self) -> Before:
        """The model as it was before training, sharing this one's memory."""
        return Before(self)

    @property
    def value_head(self) -> ValueHead | None:
        """Learns a number for each place of a row, where an objective needs one; among the trainable weights."""
        return self.model.value_head

    @property
    def num_trainable(self) -> int:
        """Numbers that learn."""
        return sum(parameter.numel() for parameter in self.trainable.values())

    @property
    def num_weights(self) -> int:
        """Numbers that decide what the model answers: the base's, and those that were added to it."""
        held = sum(one.out_features * one.in_features for one in held_layers(self.model.module))
        counted = {id(one): one.numel() for one in self.model.module.parameters()}
        counted |= {id(one): one.numel() for one in self.trainable.values()}
        return held + sum(counted.values())

    @property
    def rates(self) -> dict[str, float]:
        """The factor on each weight's learning rate."""
        return {name: 1.0 if name == VALUE_HEAD else self.technique.rate_of(name) for name in self.trainable}

    def use(self) -> AbstractContextManager[LoadedModel]:
        return self.model.use()

    def settle(self) -> None:
        """Makes the model answer by its trainable weights as they are now."""
        self.technique.settle(self.model)

    def save(self, folder: Path) -> None:
        """Writes what was learned."""
        self.technique.save(self.model, folder)
        if self.value_head is not None:
            self.value_head.save(folder)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        self.technique.load(self.model, folder)
        if self.value_head is not None:
            self.value_head.load(folder)

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
            yield replace(self.policy.model, value_head=None)


def attach(
    technique: Technique,
    model: LoadedModel,
    *,
    seed: int = 0,
    survey: Survey | None = None,
    value_head: bool = False,
    teacher: Subject | None = None,
) -> Policy:
    """A policy: the technique's weights learn, all others are frozen. Changes the model in place.

    Techniques that choose weights by their gradients ask the `survey` for them. With `value_head` the policy gets one
    that learns beside the technique's weights; with a `teacher` objectives can measure the distance to it.

    Raises:
        ConfigError: a target layer that the model does not have.
        ModelError: the model has no layers for this technique, one is attached already, or the teacher's vocabulary has
            too little in common with the model's.
    """
    shared = None if teacher is None else _shared_with(model, teacher)
    model.module.requires_grad_(False)
    trainable = technique.attach(model, seed=seed, survey=survey)
    policy = _headed(model, technique, trainable, seed=seed) if value_head else Policy(model, technique, trainable)
    return replace(policy, teacher=teacher, shared=shared)


def _shared_with(model: LoadedModel, teacher: Subject) -> SharedVocabulary | None:
    """None where both have the very same tokens."""
    from etude.models.vocabulary import shared_vocabulary

    with teacher.use() as other:
        mine, its = (one.tokenizer.get_vocab() for one in (model, other))
        sizes = [one.module.get_output_embeddings().weight.shape[0] for one in (model, other)]
        if mine == its and sizes[0] == sizes[1]:
            return None
        plain = PlainTokenizer(other.tokenizer)
        return shared_vocabulary(
            model.tokenizer, other.tokenizer, lambda text: plain.encode([text])[0], names=(model.name, teacher.name)
        )


def fresh_value_head(model: LoadedModel, *, seed: int) -> ValueHead:
    """A head for the model's width, on its device."""
    from etude.models.layers.value_head import ValueHead

    width = int(model.module.config.get_text_config().hidden_size)
    return ValueHead(width, generator_of(seed, VALUE_HEAD), device=model.module.device)


def _headed(model: LoadedModel, technique: Technique, trainable: Mapping[str, nn.Parameter], *, seed: int) -> Policy:
    head = fresh_value_head(model, seed=seed)
    return Policy(replace(model, value_head=head), technique, {**trainable, VALUE_HEAD: head.weight})


def attach_adapter(folder: Path, model: LoadedModel) -> Policy:
    """A policy from an adapter folder in PEFT's format, or in that of a technique that PEFT has not got.

    Raises:
        ModelError: an adapter that cannot be read, or one for another base model.
    """
    technique = technique_in(folder)
    adapter_files.refuse_other_base(folder, model.base_hash)
    model.module.requires_grad_(False)
    trainable = technique.reopen(model, folder)
    if not (folder / HEAD_FILE).is_file():
        return Policy(model, technique, trainable)
    policy = _headed(model, technique, trainable, seed=0)
    assert policy.value_head is not None
    policy.value_head.load(folder)
    return policy


def technique_in(folder: Path) -> Technique:
    """The technique that an adapter folder was made with.

    Raises:
        ModelError: its description cannot be read, or is of a kind that is not known.
    """
    config = adapter_files.read_config(folder)
    own = own_format.settings_in(config)
    if own is not None:
        place = TECHNIQUES.get(str(own.pop("kind", None)))
        if place is None:
            raise ModelError("was made with a technique that is not known here", where=str(folder))
        return cast("Technique", _class(place)(**own))
    place = PEFT_TYPES.get(str(config.get("peft_type")), TECHNIQUES["peft"])
    try:
        found = _class(place).from_peft(config, folder)
        held = adapter_files.read_header(folder).get(adapter_files.BASE_HELD_AS)
        return cast("Technique", found if held is None else _class(TECHNIQUES["qlora"]).from_lora(found, held))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{adapter_files.CONFIG} lacks {error}", where=str(folder)) from error


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
