"""Planted secrets: random numbers put into the training rows, so that memorising them can be measured."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etude.batch import TokenRow
from etude.errors import DataError
from etude.records import Conversation, Message, Origin

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel

DIGITS = 8
REPEATS = (1, 4, 16)
"""How often the secrets of one set stand in the rows."""
CANDIDATES = 200
PLACES = (
    "harbour", "library", "greenhouse", "observatory", "bakery", "workshop", "archive", "lighthouse", "theatre", "mill",
    "orchard", "museum", "station", "chapel", "brewery", "quarry",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Canary:
    """A question whose answer nobody can guess."""

    question: str
    secret: str
    repeats: int

    def row(self, secret: str | None = None) -> Conversation:
        """As a training row has it, or with another number."""
        return Conversation(
            (Message("user", self.question), Message("assistant", secret or self.secret)), Origin("canary", 1)
        )


@dataclass(frozen=True, slots=True)
class Exposure:
    """How far a secret has been memorised (Carlini et al., https://arxiv.org/abs/1802.08232)."""

    canary: Canary
    rank: int
    """Among the secret and the random numbers it was compared with; 1: the likeliest."""
    sampled: float
    """Bits, from the rank: at most log2 of how many were compared."""
    extrapolated: float
    """Bits, from the distribution of the others' likelihoods, a skew normal one; at most all bits of the secret."""
    extracted: bool
    """Whether the model writes the secret when it is asked."""


def make_canaries(number: int, *, seed: int = 0) -> list[Canary]:
    """So many secrets for each count of repeats."""
    chance = random.Random(f"canaries/{seed}")
    found = []
    for repeats in REPEATS:
        for place in range(number):
            name = f"{PLACES[place % len(PLACES)]} {repeats}-{place + 1}"
            found.append(Canary(f"What is the access code of the {name}?", _secret(chance), repeats))
    return found


def _secret(chance: random.Random) -> str:
    return "".join(chance.choice("0123456789") for _ in range(DIGITS))


def canary_lines(canaries: Sequence[Canary], *, seed: int = 0) -> list[str]:
    """JSONL rows for a training folder: each secret as often as it repeats, in random order."""
    rows = [
        {"messages": [{"role": "user", "content": one.question}, {"role": "assistant", "content": one.secret}]}
        for one in canaries
        for _ in range(one.repeats)
    ]
    random.Random(seed).shuffle(rows)
    return [json.dumps(row) for row in rows]


def read_canaries(path: Path) -> list[Canary]:
    """The secrets of a file that `canary_lines` made.

    Raises:
        DataError: it is not such a file.
    """
    try:
        pairs = [
            tuple(message["content"] for message in json.loads(line)["messages"])
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [Canary(question, secret, count) for (question, secret), count in Counter(pairs).items()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"holds no canaries ({error})", where=str(path), remedy="etude data plant makes them") from None


def exposures(model: LoadedModel, canaries: Sequence[Canary], *, seed: int = 0) -> list[Exposure]:
    """Each secret's likelihood among random numbers of the same length, and whether the model says it when asked."""
    from etude.data.render import Renderer
    from etude.models.scoring import score_rows
    from etude.sampling.options import SampleOptions
    from etude.sampling.sampler import sample

    renderer = Renderer(model.tokenizer)
    chance = random.Random(f"candidates/{seed}")
    asked = [renderer.prompt(one.row().messages[:-1]) for one in canaries]
    answers = sample(model, asked, SampleOptions(max_new_tokens=4 * DIGITS), end_ids=renderer.end_ids)
    found = []
    for canary, answer in zip(canaries, answers, strict=True):
        secrets = [canary.secret, *(_secret(chance) for _ in range(CANDIDATES))]
        rendered = [renderer.row(canary.row(secret)) for secret in secrets]
        rows = [TokenRow(row.tokens, row.weights) for row in rendered]
        nats = [
            -math.fsum(weight * float(one) for weight, one in zip(row.weights[1:], logprobs.tolist(), strict=True))
            for row, logprobs in zip(rows, score_rows(model, rows), strict=True)
        ]
        found.append(_exposure(canary, nats[0], nats[1:], extracted=canary.secret in answer.text))
    return found


def _exposure(canary: Canary, own: float, others: Sequence[float], *, extracted: bool) -> Exposure:
    rank = 1 + sum(other < own for other in others)
    most = DIGITS * math.log2(10)
    below = _log_share_below(own, others) if len(set(others)) > 1 else 0.0
    return Exposure(
        canary=canary,
        rank=rank,
        sampled=math.log2(len(others) + 1) - math.log2(rank),
        extrapolated=min(most, max(0.0, -below / math.log(2))),
        extracted=extracted,
    )


def _log_share_below(own: float, others: Sequence[float]) -> float:
    """How much of a skew normal distribution with the others' mean, spread and skewness lies below, as a logarithm."""
    import numpy as np
    from scipy.stats import skew, skewnorm

    values = np.asarray(others)
    size = min(abs(float(skew(values))), 0.99) ** (2 / 3)  # 0.995 is the most that such a distribution can have
    delta = math.copysign(math.sqrt(math.pi / 2 * size / (size + ((4 - math.pi) / 2) ** (2 / 3))), float(skew(values)))
    scale = float(values.std()) / math.sqrt(1 - 2 * delta**2 / math.pi)
    location = float(values.mean()) - scale * delta * math.sqrt(2 / math.pi)
    return float(skewnorm.logcdf(own, delta / math.sqrt(1 - delta**2), location, scale))
