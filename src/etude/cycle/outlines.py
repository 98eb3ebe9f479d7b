"""Models without their numbers, by any name that a run file may give them: runs that are yet to come among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from etude.config import RunFile, load_run_file
from etude.errors import ConfigError, EtudeError
from etude.models.load import precision_name
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions
from etude.models.source import find_folder
from etude.planning.memory import weights_bytes
from etude.planning.shape import outline, shape_of
from etude.runs.directory import is_run, open_run
from etude.techniques import adapter_files
from etude.techniques.base import Technique
from etude.techniques.freeze import Freeze
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach, technique_in
from etude.techniques.prompt import PromptTuning
from etude.techniques.sparse import Sparse
from etude.techniques.targets import linear_layers

FUSED = frozenset({"llama", "mistral", "qwen2"})
"""Families that go the fused way on a CPU."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The runs that a run file may name: those of earlier stages, by their folders, and all that are there."""

    stages: Mapping[str, RunFile]

    @staticmethod
    def by(stages: list[RunFile]) -> Begun:
        return Begun({str(Path(one.output).absolute()): one for one in stages})

    def run_file(self, name: str) -> RunFile | None:
        """What made the run of this name; None where it is no run."""
        folder = Path(name)
        known = self.stages.get(str(folder.absolute()))
        if known is not None or not is_run(folder):
            return known
        return load_run_file(open_run(folder).run_file, check_files=False)

    def plain(self, options: ModelOptions) -> ModelOptions:
        """The model whose sizes and tokens a run's result has: that which the first run before it began with."""
        run_file = self.run_file(options.name)
        if run_file is None:
            return options
        first = self.plain(run_file.model)
        return replace(options, name=first.name, revision=first.revision)


def fresh(options: ModelOptions, config_path: str | None = None) -> LoadedModel:
    """The model's outline, to which a technique can be attached without memory.

    Raises:
        EtudeError: there is no such model, or its config is none of a causal language model.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    where = config_path or str(find_folder(options.name, revision=options.revision))
    try:
        config = AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ConfigError(f"no model config ({str(error).splitlines()[0]})", where=where) from error
    tokenizer: Any = None
    return LoadedModel(
        name=where if config_path else options.name,
        module=outline(config),
        tokenizer=tokenizer,
        folder=Path(where),
        base_hash="",
        way="fused" if config.model_type in FUSED else "tree",
    )


def bytes_beside(name: str, run_file: RunFile, begun: Begun, *, bytes_a_number: int, shares: bool = True) -> float:
    """Of a model that a run holds beside the one that learns; of its adapter alone where it may stand on the same base.

    Raises:
        EtudeError: nothing goes by that name.
    """
    made_by, folder = begun.run_file(name), Path(name)
    options, technique = ModelOptions(name=name), None
    if made_by is not None:
        options = made_by.model
        technique = made_by.technique if made_by.technique.saved_as == "adapter" else None
    elif (folder / "adapter_config.json").is_file():
        technique = technique_in(folder)
        options = ModelOptions(name=str(adapter_files.read_config(folder)["base_model_name_or_path"]))
    model = fresh(begun.plain(options))
    shape = shape_of(model.module, name=name)
    if technique is None:
        return weights_bytes(shape, held=None, bytes_a_number=bytes_a_number)
    adapter = 4.0 * trainable_of(technique, model)[0]
    if shares and made_by is not None and _on_one_base(made_by, run_file):
        return adapter
    return weights_bytes(shape, held=technique.base_held_as, bytes_a_number=bytes_a_number) + adapter


def _on_one_base(one: RunFile, other: RunFile) -> bool:
    """Whether two runs' adapters can stand on the same weights in memory, as far as their run files tell."""
    first, second = (replace(run.model, precision=precision_name(run.model.precision)) for run in (one, other))
    return (
        first == second
        and one.technique.keeps_base
        and other.technique.keeps_base
        and one.technique.base_held_as == other.technique.base_held_as
    )


def trainable_of(technique: Technique, model: LoadedModel) -> tuple[int, bool]:
    """Numbers that learn, and whether they are the base's own; where weights are chosen by data, their share.

    Raises:
        EtudeError: a method that starts from numbers, which an outline has not got.
    """
    if isinstance(technique, Sparse):
        layers = linear_layers(model, technique.targets, where="technique.targets")
        return sum(round(technique.share * one.weight.numel()) for _, one in layers), True
    if isinstance(technique, Freeze) and technique.choose is not None:
        return round(technique.share * shape_of(model.module, name="").linear), True
    asked = technique
    if isinstance(technique, LoRA):
        asked = replace(technique, start="zero")
    elif isinstance(technique, PromptTuning):
        asked = replace(technique, text=None)  # an outline has no tokenizer
    own = {id(parameter) for parameter in model.module.parameters()}
    try:
        with torch.device("meta"):  # first numbers of adapters are not drawn either
            trainable = attach(asked, model).trainable
    except RuntimeError as error:  # it looked at numbers, which an outline has not got
        raise EtudeError(f"cannot be planned: {error}", where="technique.kind") from error
    return sum(one.numel() for one in trainable.values()), any(id(one) in own for one in trainable.values())
