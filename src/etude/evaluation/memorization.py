"""Whether a model recites its training rows: continued verbatim, and in n-grams, against rows that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

from etude.batch import Sample, TokenRow
from etude.evaluation.intervals import wilson

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel

GIVEN = 0.5
"""Share of an answer that the model is given before it goes on."""
MOST_TOKENS = 50
FEWEST_TOKENS = 8
"""Rests that are shorter say little: a label is right without having been memorised."""
GRAM = 8
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of some rows with Wilson's 95 % interval; `of` may be 0."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.count, self.of) if self.of else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Memorization:
    """What was found; held-out rows show what knowledge of the task alone does."""

    verbatim_train: Share
    """Training answers whose second half is continued word for word."""
    verbatim_heldout: Share
    copied_train: Share
    """Continuations in which some eight tokens in a row stand in another row's training answer too."""
    copied_heldout: Share

    def as_dict(self) -> dict[str, dict[str, int]]:
        """JSON-able; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, int]]) -> Memorization:
        return cls(**{name: Share(**share) for name, share in values.items()})

    @property
    def memorizes(self) -> bool:
        """Whether training rows are recited clearly more often than held-out rows."""
        return self.verbatim_train.interval[0] > self.verbatim_heldout.interval[1]

    def sentence(self) -> str:
        """The finding as a person would say it."""
        if not self.verbatim_train.of:
            return f"not measured: no answer is long enough ({FEWEST_TOKENS} tokens behind its first half)"
        train, heldout = self.verbatim_train, self.verbatim_heldout
        answer = "recites training rows" if self.memorizes else "no sign of memorisation"
        return (
            f"{answer}: {train.count} of {train.of} training answers are continued word for word, "
            f"{heldout.count} of {heldout.of} held-out ones"
        )


def memorization(
    model: LoadedModel,
    train: Sequence[Sample],
    heldout: Sequence[Sample],
    *,
    rows: int = 32,
    on_progress: OnProgress | None = None,
) -> Memorization:
    """Greedy continuations of up to so many training rows and as many held-out rows, each from half of its answer."""
    from etude.sampling.options import SampleOptions
    from etude.sampling.sampler import sample

    sides = [_usable(samples, rows) for samples in (train, heldout)]
    known = _grams(train)
    asked = [tokens for side in sides for tokens, _ in side]
    wanted = [rest for side in sides for _, rest in side]
    longest = max((len(rest) for rest in wanted), default=1)
    answers = sample(
        model, asked, SampleOptions(max_new_tokens=longest), end_ids=frozenset(), on_progress=on_progress
    )  # fmt: skip
    written = [answer.tokens[: len(rest)] for answer, rest in zip(answers, wanted, strict=True)]
    verbatim = [mine == rest for mine, rest in zip(written, wanted, strict=True)]
    copied = [
        any(known.get(gram, 0) > (gram in _of(rest)) for gram in _of(mine))
        for mine, rest in zip(written, wanted, strict=True)
    ]
    cut = len(sides[0])
    return Memorization(
        verbatim_train=Share(sum(verbatim[:cut]), cut),
        verbatim_heldout=Share(sum(verbatim[cut:]), len(verbatim) - cut),
        copied_train=Share(sum(copied[:cut]), cut),
        copied_heldout=Share(sum(copied[cut:]), len(copied) - cut),
    )


def _usable(samples: Sequence[Sample], most: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(what is given, what should follow) of the first rows whose answers are long enough."""
    halves = (_halves(sample.rows[0]) for sample in samples)
    return list(islice((one for one in halves if len(one[1]) >= FEWEST_TOKENS), most))


def _halves(row: TokenRow) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tokens = tuple(int(token) for token in row.tokens)
    places = [at for at, weight in enumerate(row.weights) if weight]
    if not places:
        return tokens, ()
    first, last = places[0], places[-1]  # the last learned token ends the answer
    cut = first + max(1, int(GIVEN * (last - first)))
    return tokens[:cut], tokens[cut:last][:MOST_TOKENS]


def _of(tokens: Sequence[int]) -> set[tuple[int, ...]]:
    return {tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)}


def _grams(samples: Sequence[Sample]) -> dict[tuple[int, ...], int]:
    """In how many training answers each run of eight tokens stands."""
    counts: dict[tuple[int, ...], int] = {}
    for one in samples:
        row = one.rows[0]
        learned = [int(token) for token, weight in zip(row.tokens, row.weights, strict=True) if weight]
        for gram in _of(learned):
            counts[gram] = counts.get(gram, 0) + 1
    return counts
