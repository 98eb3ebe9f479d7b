"""What the loop asks of an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from etude.batch import Batch, Loss, Sample, Scores
from etude.objectives.experience import Credit, Experience

Range = tuple[str, Callable[[float], bool]]
"""What a number may be, in words and as a test."""
POSITIVE: Range = ("above 0", lambda value: value > 0)
NOT_NEGATIVE: Range = ("at least 0", lambda value: value >= 0)
SHARE: Range = ("from 0 to 1", lambda value: 0 <= value <= 1)
MINORITY: Range = ("from 0 to below 0.5", lambda value: 0 <= value < 0.5)


class Objective(Protocol):
    """A frozen dataclass of knobs with a loss that returns sums; it knows no model, trainer or data format."""

    @property
    def learns_from(self) -> tuple[type, ...]:
        """Record types whose rows this objective can learn from."""
        ...

    @property
    def needs_policy(self) -> bool:
        """Whether `Scores.policy_S`, log-probabilities of the learned tokens, must be computed."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether `Scores.reference_S`, the model before training, must be computed."""
        ...

    @property
    def needs_values(self) -> bool:
        """Whether `Scores.values_S`, a value head's numbers, must be computed; the policy then gets such a head."""
        ...

    @property
    def needs_teacher(self) -> bool:
        """Whether `Scores.teacher_S`, the distance to a teacher's distributions, must be computed; it then says which
        model is the `teacher`, and is a `models.distilling.Distance`."""
        ...

    @property
    def needs_squares(self) -> bool:
        """Whether `Scores.squares_S`, how concentrated the policy's distributions are, must be computed."""
        ...

    @property
    def needs_rewards(self) -> bool:
        """Online: whether answers must be rewarded."""
        ...

    @property
    def online(self) -> bool:
        """Whether it learns from answers that the policy itself writes: see `Online`."""
        ...

    def shown(self, sample: Sample) -> Sample:
        """The sample as the model is to see it."""
        ...

    def count(self, batch: Batch) -> float:
        """What the summed loss is divided by, for this batch alone."""
        ...

    def loss(self, batch: Batch, scores: Scores) -> Loss: ...


class Online(Objective, Protocol):
    """An objective that learns from answers that the policy writes."""

    @property
    def scores_rollouts(self) -> bool:
        """Whether `credit` reads scores of the answers' tokens."""
        ...

    def credit(self, experience: Experience, state: dict[str, float]) -> Credit:
        """How much each token of the answers is to be thanked; a pure function of both."""
        ...


class Usual:
    """What holds for most objectives."""

    needs_policy: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    needs_values: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    needs_squares: ClassVar[bool] = False
    needs_rewards: ClassVar[bool] = True
    online: ClassVar[bool] = False
    per_token: ClassVar[bool] = False
    """Whether the loss is a mean over learned tokens; else over samples."""
    ranges: ClassVar[Mapping[str, Range]] = {}
    """What each number among the settings may be."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        told = ((name, says, holds, getattr(self, name)) for name, (says, holds) in self.ranges.items())
        return [
            (name, f"must be {says}, got {value:g}") for name, says, holds, value in told
            if value is not None and not holds(value)
        ]  # fmt: skip

    def shown(self, sample: Sample) -> Sample:
        return sample

    def count(self, batch: Batch) -> float:
        """What the loss is a mean over, by weight."""
        return float((batch.weight_S if self.per_token else batch.sample_weight_P).sum())
