"""Running a model token by token: one interface, and which way a model goes.

Shape letters: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from etude.models.paged import PagedModel
from etude.sampling.answer import Prompt
from etude.sampling.padded import EqualLengthDecoder, PaddedDecoder
from etude.sampling.paged import PagedDecoder

if TYPE_CHECKING:
    from torch import Tensor

    from etude.models.loaded import LoadedModel

MIN_SHARED_TOKENS = 64
"""A common prefix is computed apart only if that saves at least so many tokens: it costs a pass of its own."""


class Decoder(Protocol):
    """Holds the state of the rows being answered."""

    @property
    def pads(self) -> bool:
        """Whether rows of different lengths may be decoded together."""
        ...

    @property
    def shares(self) -> bool:
        """Whether what some prompts of a batch have in common is computed once, so that they should meet."""
        ...

    def attention(self) -> AbstractContextManager[None]:
        """Every call below has to happen inside this block."""
        ...

    def start(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Tensor:
        """Forgets all rows, reads the prompts and gives the logits of each one's next token, [B, V]."""
        ...

    def step(self, token_B: Tensor) -> Tensor:
        """Appends a token to each row and gives the logits of the next, [B, V]."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows only."""
        ...


def decoder_for(model: LoadedModel, prompts: Sequence[Prompt], max_new_tokens: int) -> Decoder:
    """The fastest way that is proven for the model, else the one that holds for any; to be asked in evaluation mode."""
    prefix = _shared_prefix(prompts)
    if model.way == "fused":
        paged = PagedModel.of(model.module, max(map(len, prompts)) + max_new_tokens)
        if paged is not None:
            return PagedDecoder(paged, prefix)
    kinds = model.module.config.get_text_config().to_dict().get("layer_types") or ()
    if model.packs and {"full_attention", "sliding_attention"}.issuperset(kinds):
        return PaddedDecoder(model.module, prefix)
    return EqualLengthDecoder(model.module)


def _shared_prefix(prompts: Sequence[Prompt]) -> Prompt:
    """What all prompts begin with (each keeps a token of its own), or nothing if it would save too little."""
    first, last = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    shared = next((i for i in range(limit) if first[i] != last[i]), limit)
    saved = shared * (len(set(prompts)) - 1)
    return first[:shared] if saved >= MIN_SHARED_TOKENS else ()
