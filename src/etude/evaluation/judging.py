"""A judge for metrics, behind an endpoint or here, and how far it agrees with people on pairs that they judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from etude.data.read import read
from etude.errors import DataError, EtudeError, RunError
from etude.evaluation.intervals import mean_interval
from etude.records import Message, Preference
from etude.runs.directory import is_run, open_run
from etude.sampling.rewards.judge import Ask, Judge, ask_of, asked_here
from etude.sampling.rewards.mixture import Written

if TYPE_CHECKING:
    from etude.models.loaded import Subject
    from etude.sampling.rewards.options import JudgeOptions


def open_judge(options: JudgeOptions) -> Judge:
    """Ready to be asked. Raises EtudeError: nobody goes by that name, or an endpoint cannot be reached."""
    return Judge(options, ask_of(options, _local))


def written(prompt: str, answer: str, reference: str | None) -> Written:
    """An answer as the judge sees it."""
    return Written(prompt, answer, reference, (), 0)


def refuse_silence(judge: Judge, values: Sequence[float]) -> None:
    """EtudeError where the judge said nothing that can be read of any answer."""
    if values and all(map(math.isnan, values)):
        reasons = "; ".join(dict.fromkeys(judge.failures[-3:]))
        raise EtudeError(f"the judge graded none of {len(values)} answers ({reasons})", where="judge")


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge beside people, on pairs of which people said which one is better."""

    pairs: int
    agrees: float
    """Share of the pairs in which it says the same; a tie is a half."""
    interval: tuple[float, float]
    ties: float
    prefers_longer: float
    """Share of the pairs in which it says that the longer answer is better; a tie is a half."""


def agreement(judge: Judge, file: str, *, rows: int) -> Agreement:
    """The judge on the first so many pairs of a file of preferences, each asked in both orders or graded twice.

    Raises:
        EtudeError: the file holds no pairs, or the judge says nothing.
    """
    records = read(file, Preference)
    pairs = [one for one in records.rows if isinstance(one, Preference)][:rows]
    if len(pairs) < 2:
        raise DataError("holds fewer than two pairs that people judged", where=file)
    texts = [tuple(_text(part) for part in (one.prompt, one.chosen, one.rejected)) for one in pairs]
    if judge.options.pairwise:
        won = judge([written(prompt, chosen, rejected) for prompt, chosen, rejected in texts])
    else:
        grades = judge([written(prompt, answer, None) for prompt, *both in texts for answer in both])
        won = [_before(mine, its) for mine, its in zip(grades[::2], grades[1::2], strict=True)]
    refuse_silence(judge, won)
    said = [_before(value, 0.5) for value in won]
    longer = [_longer(one, len(chosen), len(rejected)) for one, (_, chosen, rejected) in zip(said, texts, strict=True)]
    return Agreement(
        len(pairs), _mean(said), mean_interval(said), _mean([float(v == 0.5) for v in said]), _mean(longer)
    )


def _before(mine: float, its: float) -> float:
    if math.isnan(mine) or math.isnan(its):
        return math.nan
    return 0.5 if mine == its else float(mine > its)


def _longer(said: float, chosen: int, rejected: int) -> float:
    if chosen == rejected:
        return math.nan
    return said if chosen > rejected else 1 - said


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _text(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0].text
    return "\n".join(f"{one.role}: {one.text}" for one in messages)


def _local(name: str, max_new_tokens: int) -> Ask:
    return asked_here(_opened(name), max_new_tokens)


def _weights(place: Path) -> Path:
    """Where the judge's weights lie: of a run its adapter's or its model's folder.

    Raises:
        RunError: the run has none yet.
    """
    if not is_run(place):
        return place
    run = open_run(place)
    if run.weights is None:
        raise RunError(f"has no weights yet (it is {run.state}), so it cannot judge", where=str(place))
    return run.weights


@lru_cache(maxsize=1)
def _opened(name: str) -> Subject:
    """A model, an adapter's folder or a run's; kept, for the tuned model has the same judge."""
    from etude.models.load import load
    from etude.models.options import ModelOptions
    from etude.techniques import adapter_files
    from etude.techniques.policy import attach_adapter, technique_in

    folder = _weights(Path(name))
    if not (folder / "adapter_config.json").is_file():
        return load(ModelOptions(name=str(folder) if is_run(Path(name)) else name))
    base = str(adapter_files.read_config(folder)["base_model_name_or_path"])
    return attach_adapter(folder, load(ModelOptions(name=base), held=technique_in(folder).base_held_as))
