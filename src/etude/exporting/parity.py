"""Whether an exported model answers as the trained one does: same token ids, log-probabilities within stated bounds.

Shape letters: S sites, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from etude.batch import Sample, TokenRow
from etude.errors import EtudeError
from etude.models.precision import dtype_of

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.loaded import LoadedModel

MOST_SITES = 192
"""Predictions compared, over all rows."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is allowed, nats."""

    mean_divergence: float
    mean_difference: float


BOUNDS: Mapping[str, Bounds] = {
    "float32": Bounds(1e-4, 1e-2),
    "bfloat16": Bounds(5e-3, 0.08),
    "float16": Bounds(5e-3, 0.08),
    "f32": Bounds(1e-4, 1e-2),
    "f16": Bounds(5e-3, 0.08),
    "bf16": Bounds(5e-3, 0.08),
    "q8_0": Bounds(1e-2, 0.12),
    "q4_1": Bounds(0.25, 0.6),
    "q4_0": Bounds(0.35, 0.7),
}
"""By how the exported numbers are held. The trained model's own rounding is in them: bfloat16 alone is 0.05 off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """One exported form against the trained model."""

    form: str
    same_tokens: bool
    """Whether it reads the rendered rows as the same token ids."""
    mean_divergence: float
    """KL(trained ‖ exported), nats, over all predictions compared."""
    mean_difference: float
    """Of the log-probability of the tokens that follow, nats."""
    most_difference: float
    same_first: float
    """Share of predictions with the same most likely token."""
    bounds: Bounds

    @property
    def holds(self) -> bool:
        """Whether the export may be used."""
        return (
            self.same_tokens
            and self.mean_divergence <= self.bounds.mean_divergence
            and self.mean_difference <= self.bounds.mean_difference
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}

    def sentence(self) -> str:
        """For people."""
        tokens = "same token ids" if self.same_tokens else "OTHER TOKEN IDS"
        return (
            f"{self.form}: {'holds' if self.holds else 'FAILS'}; {tokens}, KL {self.mean_divergence:.2g} nats "
            f"(at most {self.bounds.mean_divergence:g}), log-probabilities {self.mean_difference:.2g} off on average "
            f"(at most {self.bounds.mean_difference:g}), {self.most_difference:.2g} at most, "
            f"{self.same_first:.0%} same first choice"
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What the trained model says: the rows it was asked, and its answers."""

    rows: tuple[TokenRow, ...]
    """Rows whose weights are 1 where a prediction is compared."""
    log_SV: Tensor
    """Log-probabilities of every token at every site, float32."""
    target_S: Tensor
    held: str
    """In which precision it was trained, by name."""

    def bounds(self, held: str) -> Bounds:
        """What is allowed to a form whose numbers are held so: the trained model's own rounding is part of it."""
        own, theirs = BOUNDS[self.held], BOUNDS[held]
        return Bounds(
            max(own.mean_divergence, theirs.mean_divergence), max(own.mean_difference, theirs.mean_difference)
        )

    @staticmethod
    def of(model: LoadedModel, rows: Sequence[TokenRow]) -> Expected:
        """
        Raises:
            EtudeError: no row has anything to predict.
        """
        chosen = _few(rows)
        if not chosen:
            raise EtudeError("there is no row to compare answers on", remedy="give a file of rows by --rows")
        log_SV, target_S = distributions(model, chosen)
        return Expected(chosen, log_SV, target_S, str(dtype_of(model.module)).rpartition(".")[2])


def _few(rows: Sequence[TokenRow]) -> tuple[TokenRow, ...]:
    """Rows up to the most sites that are compared, the last of them cut."""
    chosen: list[TokenRow] = []
    room = MOST_SITES
    for row in rows:
        learned = [at for at, weight in enumerate(row.weights) if weight]
        if not learned or not room:
            continue
        end = learned[min(room, len(learned)) - 1] + 1
        weights = tuple(1.0 if weight else 0.0 for weight in row.weights[:end])
        chosen.append(TokenRow(tuple(int(token) for token in row.tokens[:end]), weights))
        room -= min(room, len(learned))
    return tuple(chosen)


def distributions(model: LoadedModel, rows: Sequence[TokenRow]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of every token at every learned place of the rows, [S, V]; and which token follows, [S]."""
    import torch

    from etude.models.scoring import log_distributions
    from etude.packing import pack

    found, targets = [], []
    with torch.inference_mode():
        for number, row in enumerate(rows):
            batch = pack([Sample(str(number), (row,))]).to(model.module.device)
            found.append(log_distributions(model.module, batch, way=model.way).cpu())
            targets.append(batch.target_S.cpu())
    return torch.cat(found), torch.cat(targets)


def against_model(expected: Expected, model: LoadedModel, *, form: str, held: str, same_tokens: bool) -> Parity:
    """An exported folder, loaded again, against the trained model."""
    log_SV, _ = distributions(model, expected.rows)
    width = min(log_SV.shape[1], expected.log_SV.shape[1])  # a vocabulary may have been padded
    ours, theirs = expected.log_SV[:, :width], log_SV[:, :width]
    divergence_S = (ours.exp() * (ours - theirs)).sum(1)
    at = expected.target_S[:, None]
    difference_S = (ours.gather(1, at) - theirs.gather(1, at)).abs()
    return Parity(
        form=form,
        same_tokens=same_tokens,
        mean_divergence=float(divergence_S.mean()),
        mean_difference=float(difference_S.mean()),
        most_difference=float(difference_S.max()),
        same_first=float((ours.argmax(1) == theirs.argmax(1)).double().mean()),
        bounds=expected.bounds(held),
    )


class Engine(Protocol):
    """Another program that reads texts and predicts tokens."""

    def tokens(self, text: str) -> tuple[int, ...]:
        """The ids that it reads a rendered text as, control tokens understood."""
        ...

    def predictions(self, tokens: Sequence[int], places: Sequence[int]) -> Iterable[Mapping[int, float]]:
        """The most likely tokens at each of these places of a row, with their log-probabilities."""
        ...


def against_engine(
    expected: Expected, engine: Engine, texts: Sequence[tuple[str, tuple[int, ...]]], *, form: str, held: str
) -> Parity:
    """What another program says of the same rows; `texts` are rendered texts with the token ids that they must become.

    It tells its most likely tokens only: the divergence is over these and the rest as one.

    Raises:
        EtudeError: the program did not answer.
    """
    same_tokens = all(engine.tokens(text) == ids for text, ids in texts)
    divergences, differences, same_first = [], [], []
    site = 0
    for row in expected.rows:
        places = [at for at, weight in enumerate(row.weights) if weight]
        for theirs in engine.predictions([int(token) for token in row.tokens], places):
            ours, target = expected.log_SV[site], int(expected.target_S[site])
            divergences.append(_divergence(ours, theirs))
            if target in theirs:
                differences.append(abs(float(ours[target]) - theirs[target]))
            same_first.append(int(ours.argmax()) == max(theirs, key=lambda token: theirs[token]))
            site += 1
    return Parity(
        form=form,
        same_tokens=same_tokens,
        mean_divergence=sum(divergences) / len(divergences),
        mean_difference=sum(differences) / max(1, len(differences)),
        most_difference=max(differences, default=0.0),
        same_first=sum(same_first) / len(same_first),
        bounds=expected.bounds(held),
    )


def _divergence(ours_V: Tensor, theirs: Mapping[int, float]) -> float:
    """KL, nats, where only some tokens' log-probabilities are known of the second."""
    import torch

    log_q, log_p = torch.tensor(list(theirs.values())), ours_V[torch.tensor(list(theirs))]
    rest_p, rest_q = (max(1e-9, 1 - float(one.exp().sum())) for one in (log_p, log_q))
    rest = rest_p * math.log(rest_p / rest_q)
    return float((log_p.exp() * (log_p - log_q)).sum()) + rest
