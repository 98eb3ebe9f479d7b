"""Anything a user can name and ask: a base model, a PEFT adapter, a run, a run's base."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.errors import ModelError, RunError
from etude.json_values import json_sha256
from etude.models.options import ModelOptions, Precision
from etude.models.source import content_hash, find_folder, merged_folder
from etude.runs.directory import RunDirectory, is_run, open_run

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel, Subject
    from etude.techniques.base import Technique


@dataclass(frozen=True, slots=True)
class Named:
    """A subject under the name by which the user asked for it."""

    name: str
    subject: Subject

    def use(self) -> AbstractContextManager[LoadedModel]:
        return self.subject.use()


@dataclass(frozen=True, slots=True)
class InMemory:
    """A base model that is loaded already, and what is or will be attached to it."""

    model: LoadedModel
    technique: Technique

    def base_of(self, run: RunDirectory, options: ModelOptions, technique: Technique) -> LoadedModel | None:
        """The base for a run's adapter on the weights in memory; None where they are not what it was made from."""
        from etude.models.beside import beside
        from etude.models.load import DTYPES, precision_name
        from etude.models.precision import dtype_of

        same = (
            self.technique.keeps_base
            and technique.keeps_base
            and self.technique.base_held_as == technique.base_held_as
            and DTYPES[precision_name(options.precision)] == dtype_of(self.model.module)
            and run.manifest().base.hash == self.model.base_hash
        )
        return beside(self.model) if same else None


def open_subject(
    name: str, *, base: bool = False, precision: Precision | None = None, known: InMemory | None = None
) -> Subject:
    """A run's folder, an adapter's folder, or a model's name, loaded and ready to be asked.

    `base` asks for a run's or an adapter's base model instead; `precision` overrides what the run was made with. A run
    that learned an adapter on the base that is `known` stands on its weights.

    Raises:
        RunError: the run has no weights yet, or its base model has changed since.
        ModelError: nothing goes by that name.
    """
    from etude.models.load import load
    from etude.techniques import adapter_files
    from etude.techniques.policy import attach_adapter, technique_in

    folder = Path(name)
    if is_run(folder):
        return _open_run(open_run(folder), base=base, precision=precision, known=known)
    if (folder / "adapter_config.json").is_file():
        held = technique_in(folder).base_held_as
        base_name = str(adapter_files.read_config(folder)["base_model_name_or_path"])
        model = load(_with(ModelOptions(name=base_name), precision), held=held)
        return model if base else Named(name, attach_adapter(folder, model))
    if base:
        raise ModelError("is no run and no adapter, so it has no base", where=name)
    return load(_with(ModelOptions(name=name), precision))


def subject_hash(name: str) -> str:
    """sha256 of all files that decide what a subject answers; nothing is loaded.

    Raises:
        RunError: the run has no weights yet.
        ModelError: nothing goes by that name.
    """
    from etude.techniques import adapter_files

    folder = Path(name)
    if is_run(folder):
        run = open_run(folder)
        if run.weights is None:
            raise RunError(f"has no weights yet (it is {run.state})", where=str(run.path))
        made_from = run.manifest()
        return json_sha256([content_hash(run.weights), made_from.base.hash, made_from.template_sha256])
    if (folder / "adapter_config.json").is_file():
        base = str(adapter_files.read_config(folder)["base_model_name_or_path"])
        return json_sha256([content_hash(folder), content_hash(find_folder(base))])
    return content_hash(find_folder(name))


def make_ready(model: ModelOptions) -> str | None:
    """Merges the adapter of the run that the model's name says, if it says one; that run's id, to be noted as parent.

    Raises:
        RunError: the run is not finished.
        ModelError: its adapter cannot be merged.
    """
    folder = Path(model.name)
    if not is_run(folder):
        return None
    run = open_run(folder)
    if run.state != "finished":
        raise RunError(f"is {run.state}, so nothing can start from it", where=str(folder), remedy="finish it first")
    place = merged_folder(folder)
    if not place.is_dir():
        _merge(folder, place)
    return run.manifest().run_id


def _merge(folder: Path, place: Path) -> None:
    from etude.techniques.policy import Policy

    opened = open_subject(str(folder), precision="float32")
    inner = opened.subject if isinstance(opened, Named) else opened
    assert isinstance(inner, Policy), "whole models need no merging"
    merged = inner.merge()
    durable.make_directory(place.parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".merging-") as building:
        built = Path(building) / "model"
        merged.module.save_pretrained(built)
        merged.tokenizer.save_pretrained(built)
        durable.replace(built, place)


def _open_run(run: RunDirectory, *, base: bool, precision: Precision | None, known: InMemory | None) -> Subject:
    from etude.config import load_run_file
    from etude.models.load import load
    from etude.techniques.policy import attach_adapter

    run_file = load_run_file(run.run_file, check_files=False)
    options = _with(run_file.model, precision)
    make_ready(options)
    if not base and run.weights is None:
        raise RunError(
            f"has no weights yet (it is {run.state})", where=str(run.path), remedy="etude train --resume finishes it"
        )
    if run.weights == run.model and not base:
        return Named(str(run.path), _with_head(load(replace(options, name=str(run.model), revision=None)), run.model))
    shared = None if known is None or base else known.base_of(run, options, run_file.technique)
    model = shared or load(options, held=run_file.technique.base_held_as)
    recorded = run.manifest().base.hash
    if model.base_hash != recorded:
        raise RunError(
            f"was made from another version of {options.name} (hash {recorded[:12]}, found {model.base_hash[:12]})",
            where=str(run.path),
        )
    if base or run.weights is None:
        return model
    return Named(str(run.path), attach_adapter(run.weights, model))


def _with_head(model: LoadedModel, folder: Path) -> LoadedModel:
    """With the value head that lies beside its weights, if one does."""
    from etude.techniques.policy import HEAD_FILE, fresh_value_head

    if not (folder / HEAD_FILE).is_file():
        return model
    head = fresh_value_head(model, seed=0)
    head.load(folder)
    return replace(model, value_head=head)


def _with(options: ModelOptions, precision: Precision | None) -> ModelOptions:
    return options if precision is None else replace(options, precision=precision)
