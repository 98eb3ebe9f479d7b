"""What the loop asks of an objective."""

from __future__ import annotations

from typing import ClassVar, Protocol

from etude.batch import Batch, Loss, Sample, Scores
from etude.objectives.experience import Credit, Experience


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

    def shown(self, sample: Sample) -> Sample:
        return sample

    def count(self, batch: Batch) -> float:
        """Samples by weight: what a loss is a mean over where it has one term for each of them."""
        return float(batch.sample_weight_P.sum())
