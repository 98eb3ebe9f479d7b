"""Samples as steps of packed batches: the order is a pure function of (seed, place), so resuming is skipping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from etude.batch import Batch, Sample, Step
from etude.data.cut import Part, cut
from etude.data.options import TOKENS_PER_BATCH, OverLength
from etude.data.prepare import prepare
from etude.data.read import Records
from etude.data.render import Renderer
from etude.errors import DataError
from etude.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Share = Callable[[Sequence[Part]], Sequence[Part]]
"""A rank's micro-batches among those of a step."""


@dataclass(frozen=True, kw_only=True)
class OfflineBatches:
    """Steps over samples that are known before training; pulled by the loop, packed one step at a time."""

    samples: Sequence[Sample]
    tokens: int = TOKENS_PER_BATCH
    """Most tokens in one batch, shared prefixes counted once; a longer sample gets a batch of its own."""
    share_prefixes: bool = True
    shown: Callable[[Sample], Sample] | None = None
    """How a sample is to be seen, where that differs from how it is held."""

    def __post_init__(self) -> None:
        if not self.samples:
            raise DataError("no samples to learn from", remedy="look at the quarantine file for what was left out")

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    def steps(
        self,
        *,
        batch_rows: int,
        seed: int,
        first: int,
        total_samples: int,
        share: Share,
        num_ranks: int = 1,
        most_tokens: int | None = None,
    ) -> Iterator[Step]:
        """The steps from number `first` (0-based) on; each sample once an epoch, in a fresh order every epoch.

        Step k holds places [k * batch_rows, (k + 1) * batch_rows) of the epochs laid end to end, so no sample is
        left out where an epoch does not divide; only the very last step can be shorter.
        """
        order_of_epoch: dict[int, np.ndarray] = {}
        for start in range(first * batch_rows, total_samples, batch_rows):
            stop = min(start + batch_rows, total_samples)
            chosen: list[Sample] = []
            for place in range(start, stop):
                epoch, index = divmod(place, len(self.samples))
                if epoch not in order_of_epoch:
                    order_of_epoch = {epoch: epoch_order(len(self.samples), seed=seed, epoch=epoch)}
                chosen.append(self.samples[order_of_epoch[epoch][index]])
            yield Step(
                batches=tuple(self._packed(chosen, share, num_ranks, most_tokens)),
                sample_ids=tuple(sample.id for sample in chosen),
                epoch=stop / len(self.samples),
            )

    def sweep(self, share: Share, *, num_ranks: int = 1, most_tokens: int | None = None) -> Iterator[Batch]:
        """Every sample once: for held-out losses."""
        return self._packed(self.samples, share, num_ranks, most_tokens)

    def _packed(
        self, samples: Sequence[Sample], share: Share, num_ranks: int, most_tokens: int | None
    ) -> Iterator[Batch]:
        """This rank's micro-batches; all ranks cut alike, into as many for each."""
        tokens = self.tokens if most_tokens is None else min(self.tokens, most_tokens)
        parts = cut(samples, tokens=tokens, share_prefixes=self.share_prefixes, multiple_of=num_ranks)
        shown = self.shown or (lambda sample: sample)
        return (pack([shown(samples[at]) for at in part], share=self.share_prefixes) for part in share(parts))


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the samples that depends on the seed and the epoch alone."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_samples)


class HasTokenizer(Protocol):
    """A loaded model, seen from here: all that rendering needs of it."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...


def batches(
    records: Records,
    model: HasTokenizer,
    *,
    tokens: int = TOKENS_PER_BATCH,
    max_tokens: int = 1024,
    over_length: OverLength = "error",
    share_prefixes: bool = True,
) -> OfflineBatches:
    """Records rendered with the model's own template, as a source that the loop pulls steps from.

    `tokens` is the most that one pass through the model holds, `max_tokens` the longest row. Raises Problems for rows
    that are too long under the policy `error` or teach nothing.
    """
    prepared = prepare(records, Renderer(model.tokenizer), max_tokens=max_tokens, over_length=over_length)
    return OfflineBatches(samples=prepared.samples, tokens=tokens, share_prefixes=share_prefixes)
