"""Paths in a run file: relative to its folder, and whether they are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from etude.data.options import DataOptions
from etude.data.sources import REFUSED, ROWS, TEXTS, is_remote
from etude.evaluation.options import EvaluationOptions
from etude.evaluation.retention import SUITE
from etude.models.options import ModelOptions
from etude.objectives.distill import Distill
from etude.sampling.rewards.options import JudgeOptions, RewardOptions
from etude.sampling.rollout_options import RolloutOptions
from etude.yaml_text import Where

STEP_SOURCES = frozenset(("against", "others", "replay"))
"""Settings of steps that name data sources."""
STEP_FILES = frozenset(("key_file", "ner"))
"""Settings of steps that name another file or folder."""
DATA_SUFFIXES = tuple({**ROWS, **TEXTS, **REFUSED})


def resolve_paths(sections: Mapping[str, object], folder: Path) -> dict[str, object]:
    """The sections with local paths made absolute, so that a copy of the run file elsewhere means the same."""
    return {name: _resolved(section, folder) for name, section in sections.items()}


def _resolved(section: object, folder: Path) -> object:
    if isinstance(section, DataOptions):
        holdout = _absolute(section.holdout, folder) if isinstance(section.holdout, str) else section.holdout
        train = _absolute(section.train, folder) if is_local(section.train, folder) else section.train
        trusted = None if section.trusted_pairs is None else _absolute(section.trusted_pairs, folder)
        steps = tuple(_step_resolved(step, folder) for step in section.steps)
        return replace(section, train=train, holdout=holdout, steps=steps, trusted_pairs=trusted)
    if isinstance(section, EvaluationOptions):
        own = tuple(name if name in SUITE else _absolute(name, folder) for name in section.retention)
        live = None if section.live is None else _absolute(section.live, folder)
        tasks = tuple(_absolute(task, folder) for task in section.tasks)
        return replace(section, tasks=tasks, retention=own, live=live)
    if isinstance(section, ModelOptions) and (_says_path(section.name) or section.name.endswith(".gguf")):
        return replace(section, name=_absolute(section.name, folder))
    if isinstance(section, RolloutOptions):
        vllm = section.vllm
        if vllm is not None and vllm.adapters is not None:
            vllm = replace(vllm, adapters=_absolute(vllm.adapters, folder))
        rewards = tuple(_reward_resolved(reward, folder) for reward in section.rewards)
        return replace(section, rewards=rewards, vllm=vllm)
    if isinstance(section, Distill) and _says_path(section.teacher):
        return replace(section, teacher=_absolute(section.teacher, folder))
    return section


def _step_resolved(step: Any, folder: Path) -> Any:
    """The step with its files made absolute; of data sources, those of the hub stay as they are."""
    files = {item.name: getattr(step, item.name) for item in fields(step) if item.name in STEP_FILES}
    held = {item.name: getattr(step, item.name) for item in fields(step) if item.name in STEP_SOURCES}
    return replace(
        step,
        **{name: _absolute(given, folder) for name, given in files.items() if given is not None},
        **{
            name: tuple(_absolute(one, folder) if is_local(one, folder) else one for one in given)
            for name, given in held.items()
        },
    )


def _data_files(data: DataOptions, folder: Path) -> dict[Where, str]:
    """Local files that the section names, its steps included."""
    named: dict[Where, str] = {("data", "train"): data.train} if is_local(data.train, folder) else {}
    if isinstance(data.holdout, str) and not is_remote(data.holdout):
        named["data", "holdout"] = data.holdout
    if data.trusted_pairs is not None and not is_remote(data.trusted_pairs):
        named["data", "trusted_pairs"] = data.trusted_pairs
    named |= {
        ("data", "steps", at, item.name): getattr(step, item.name)
        for at, step in enumerate(data.steps)
        for item in fields(step)
        if item.name in STEP_FILES and getattr(step, item.name) is not None
    }
    return named | {
        ("data", "steps", at, item.name, index): one
        for at, step in enumerate(data.steps)
        for item in fields(step)
        if item.name in STEP_SOURCES
        for index, one in enumerate(getattr(step, item.name))
        if Path(one).is_absolute()
    }


def _reward_resolved(reward: RewardOptions, folder: Path) -> RewardOptions:
    run, function = (None if name is None else _absolute(name, folder) for name in (reward.run, reward.function))
    judge = None if reward.judge is None else _judge_resolved(reward.judge, folder)
    return replace(reward, run=run, function=function, judge=judge)


def _judge_resolved(judge: JudgeOptions, folder: Path) -> JudgeOptions:
    if judge.model is not None and _says_path(judge.model):
        return replace(judge, model=_absolute(judge.model, folder))
    if judge.endpoint is not None and judge.endpoint.cache is not None:
        return replace(judge, endpoint=replace(judge.endpoint, cache=_absolute(judge.endpoint.cache, folder)))
    return judge


def missing_files(
    sections: Mapping[str, object], folder: Path, *, not_yet: Collection[str] = ()
) -> list[tuple[Where, str]]:
    """(setting, what is wrong) for each local file that is named, with paths already absolute, and not there.

    Those in `not_yet` are still to be made.
    """
    named: dict[Where, str] = {}
    data, evaluation, model = sections.get("data"), sections.get("evaluation"), sections.get("model")
    if isinstance(data, DataOptions):
        named.update(_data_files(data, folder))
    if isinstance(evaluation, EvaluationOptions):
        named.update({("evaluation", "tasks", index): task for index, task in enumerate(evaluation.tasks)})
        if evaluation.live is not None:
            named["evaluation", "live"] = evaluation.live
        probes = {("evaluation", "retention", at): name for at, name in enumerate(evaluation.retention)}
        named.update({where: name for where, name in probes.items() if name not in SUITE})
    objective = sections.get("objective")
    if isinstance(objective, Distill) and Path(objective.teacher).is_absolute():
        named["objective", "teacher"] = objective.teacher
    rollouts = sections.get("rollouts")
    if isinstance(rollouts, RolloutOptions):
        named.update(_files_of_rewards(rollouts))
    if isinstance(model, ModelOptions) and Path(model.name).is_absolute():
        named["model", "name"] = model.name
    missing = {where: name for where, name in named.items() if name not in not_yet and not Path(name).exists()}
    return [(where, _missing(Path(name))) for where, name in missing.items()]


def _files_of_rewards(rollouts: RolloutOptions) -> dict[Where, str]:
    named: dict[Where, str] = {}
    for index, reward in enumerate(rollouts.rewards):
        where = ("rollouts", "rewards", index)
        if reward.run is not None:
            named[*where, "run"] = reward.run
        if reward.function is not None:
            named[*where, "function"] = reward.function.rpartition(":")[0]
        if reward.judge is not None and reward.judge.model is not None and Path(reward.judge.model).is_absolute():
            named[*where, "judge", "model"] = reward.judge.model
    return named


def is_local(name: str, folder: Path) -> bool:
    """Whether a data source means a file or folder here, and not a URL or a data set of the hub (`owner/name`)."""
    if is_remote(name):
        return False
    return _says_path(name) or name.lower().endswith(DATA_SUFFIXES) or (folder / name).exists()


def _says_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..")


def _absolute(name: str, folder: Path) -> str:
    if is_remote(name):
        return name
    return str((folder / Path(name).expanduser()).absolute().resolve())


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"no such file: {path} (there is no folder {path.parent})"
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.6)
    return f"no such file: {path}" + (f"; did you mean {near[0]!r}?" if near else "")
