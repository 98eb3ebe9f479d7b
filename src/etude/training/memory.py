"""When memory runs out in a pass through the model: smaller micro-batches, the same step.

A backward pass that fails may have added to gradients already, so the whole step is done again from none, in
micro-batches of at most half of what did not fit. The run keeps them from there on, on all ranks alike.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from etude.batch import Batch
from etude.errors import EtudeError
from etude.training.ranks import Ranks

SAID_ON_A_CPU = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
REMEDY = "set model.activation_checkpointing to always, or lower data.max_tokens; checkpoints are unharmed"


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SAID_ON_A_CPU)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Says in one line that memory ran out where smaller micro-batches would not help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise EtudeError(f"memory ran out {doing}", remedy=REMEDY) from None


class Smaller(Exception):
    """Raised on all ranks: what was begun must be done again, from the start, with the lowered limit."""


@dataclass(slots=True)
class Room:
    """How many tokens one pass may hold: what the source says, until more than memory held was tried."""

    most_tokens: int | None = None
    _untold: list[str] = field(default_factory=list)

    def passes(self, batches: Iterable[Batch], one_pass: Callable[[Batch], None], ranks: Ranks, *, update: int) -> None:
        """`one_pass` with each of this rank's micro-batches.

        Raises:
            Smaller: memory ran out on some rank, and the limit is lower now; on all ranks.
            EtudeError: it ran out on a single sample; on all ranks.
        """
        failed: Batch | None = None
        for batch in batches:
            try:
                one_pass(batch)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                failed = batch  # dealt with below: until here the exception holds on to the pass's tensors
                break
        if ranks.any(failed is not None):
            self._lower(failed, ranks, update)
            raise Smaller

    def tell(self) -> str | None:
        """What was lowered since this was last asked."""
        told, self._untold = "; ".join(self._untold), []
        return told or None

    def _lower(self, failed: Batch | None, ranks: Ranks, update: int) -> None:
        mine = None if failed is None else [len(failed.tokens_T), *failed.sample_ids]
        reports = [json.loads(text) for text in ranks.gather_texts(json.dumps(mine))]
        found = sorted(report for report in reports if report is not None)
        for tokens, *sample_ids in found:
            if len(sample_ids) == 1:
                raise EtudeError(
                    f"memory ran out on a single sample of {tokens:,} tokens",
                    where=f"update {update}: {sample_ids[0]}",
                    remedy=REMEDY,
                )
        tried = found[0][0]
        self.most_tokens = tried // 2
        self._untold.append(
            f"memory ran out on {tried:,} tokens in one pass; from here on at most {self.most_tokens:,}"
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
