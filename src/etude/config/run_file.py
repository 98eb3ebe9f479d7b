"""RunFile: one fine-tuning run as frozen dataclasses, each section the options of the room that it tunes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from etude import yaml_text
from etude.comparison.gates import Gate
from etude.data.options import DataOptions
from etude.evaluation.options import EvaluationOptions
from etude.exporting.targets import Target, as_vllm_adapter, obstacles
from etude.models.options import ModelOptions
from etude.planning.options import PlanningOptions
from etude.records import Judged, Preference
from etude.sampling.rollout_options import RolloutOptions
from etude.training.options import TrainOptions
from etude.training.outward import LoggingOptions

if TYPE_CHECKING:
    from etude.objectives.base import Objective
    from etude.techniques.base import Technique


@runtime_checkable
class Checked(Protocol):
    """Options that know their own ranges and conflicts."""

    def problems(self) -> list[tuple[str, str]]: ...


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """Everything that decides a run; the same file, data and code give the same weights."""

    model: ModelOptions
    """The base model; a plain string is its name."""
    data: DataOptions
    """Where the examples are, and how they become token rows."""
    technique: Technique
    """Which weights learn; `kind` picks the technique (lora when left out)."""
    objective: Objective
    """What is learned; `kind` picks the objective (sft when left out)."""
    rollouts: RolloutOptions = field(default_factory=RolloutOptions)
    """How answers are written and rewarded, for objectives that learn from the model's own."""
    training: TrainOptions = field(default_factory=TrainOptions)
    """How long, how fast and how carefully to train."""
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    """What the model is measured on, before and after."""
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    """Which trackers follow the run, beside its own files."""
    planning: PlanningOptions = field(default_factory=PlanningOptions)
    """What is checked before the run, and the price of its time."""
    gates: tuple[Gate, ...] = ()
    """What the result must show; `etude train` and `etude compare --gates` exit with 1 where a gate is not passed."""
    target: Target = "any"
    """Where the result will be served; what that server could not load is refused before training."""
    output: str
    """The run's folder, relative to the current folder; `runs/<name of the run file>` when left out."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every conflict between two sections."""
        found: list[tuple[str, str]] = []
        found += self._looks()
        found += self._online_problems() if self.objective.online else []
        if self.rollouts.vllm is not None:
            found += self._served_problems()
        if self.data.trusted_pairs is not None and not {Preference, Judged} & {*self.objective.learns_from}:
            says = f"{type(self.objective).__name__} learns from no pairs or judged answers; leave it out"
            found.append(("data.trusted_pairs", says))
        for place, gate in enumerate(self.gates):
            found += [(f"gates.{place}.{setting}", says) for setting, says in gate.problems()]
            if gate.figure is None and not self.evaluation.base:
                found.append((f"gates.{place}", "compares with the base, and evaluation.base is false"))
        found += [(one.setting, one.says) for one in obstacles(self.target, self.technique) if one.refused]
        return found

    def _online_problems(self) -> list[tuple[str, str]]:
        """Of an objective that learns from its own answers."""
        found: list[tuple[str, str]] = []
        if self.objective.needs_rewards and not self.rollouts.rewards:
            found.append(("rollouts.rewards", f"missing; {type(self.objective).__name__} learns from rewards"))
        if self.training.batch_rows % self.rollouts.group:
            found.append(
                ("training.batch_rows", f"must be a multiple of rollouts.group ({self.rollouts.group}), whole groups")
            )
        dropout: float = getattr(self.technique, "dropout", 0.0)
        if self.rollouts.updates > 1 and dropout:
            found.append(
                ("technique.dropout", "must be 0 with rollouts.updates above 1: ratios to the writer would not be 1")
            )
        return found

    def _served_problems(self) -> list[tuple[str, str]]:
        """What keeps a server from writing the answers."""
        if not self.objective.online:
            return [("rollouts.vllm", f"{type(self.objective).__name__} learns from no answers of its own")]
        return [(setting, f"with rollouts.vllm: {says}") for setting, says in as_vllm_adapter(self.technique)]

    def _looks(self) -> list[tuple[str, str]]:
        """What is wrong with how held-out rows are looked at."""
        found: list[tuple[str, str]] = []
        if self.data.holdout == 0:
            needing = {
                "training.patience": self.training.patience,
                "training.heldout_every": self.training.heldout_every,
                "evaluation.live": self.evaluation.live,
            }
            for name, value in needing.items():
                if value is not None:
                    found.append((name, "needs held-out rows, but data.holdout is 0"))
        if self.training.keep_best_by == "score" and self.evaluation.live is None:
            found.append(("training.keep_best_by", "needs evaluation.live, a task file that is asked during training"))
        return found


def dump(run_file: RunFile) -> str:
    """The resolved run file as YAML, every setting written out; reading it back gives an equal RunFile."""
    return yaml_text.dump(plain(run_file))


def plain(value: object) -> yaml_text.Plain:
    """Options as the values that YAML and JSON know."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        names = sorted((item.name for item in fields(value)), key=lambda name: name != "kind")
        return {name: plain(getattr(value, name)) for name in names}
    raise TypeError(f"options hold only plain values and dataclasses, found {type(value).__name__}")
