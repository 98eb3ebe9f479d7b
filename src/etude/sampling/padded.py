"""Decoding through transformers' own layers: padded batches, or rows of one length.

Shape letters: B rows, S tokens of one pass, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from etude.errors import ModelError
from etude.sampling.answer import Prompt
from etude.sampling.attention import PADDING, Sight, attention_set_to, decoding_attention, seeing
from etude.sampling.cache import RowCache

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

TOKENS_PER_PASS = 4096
"""Prompt tokens computed at once, over all rows: bounds the memory of long prompts."""
ROOM = 128
"""Most tokens of answer that the cache has room for before it first grows."""


class _Pass:
    """Calls the model's forward; only the last position goes through the head where the model offers that."""

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        accepted = inspect.signature(module.forward).parameters
        self.accepted = frozenset(accepted)
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def __call__(self, token_BS: Tensor, **inputs: object) -> Tensor:
        """The logits of the token after the last, [B, V]."""
        found = self.module(input_ids=token_BS, use_cache=True, return_dict=True, **inputs, **self.last_only)
        logits: Tensor = found.logits[:, -1]
        return logits


class PaddedDecoder:
    """Rows of any length side by side: prompts end in the same column, and positions say who sees whom.

    The prefix common to all prompts is computed once, and so is each of several equal prompts.
    """

    pads = True
    shares = False

    def __init__(self, module: PreTrainedModel, prefix: Prompt) -> None:
        self._forward = _Pass(module)
        self._module = module
        self._prefix = prefix
        self._prefix_cache: RowCache | None = None
        self._cache: RowCache
        self._padded = False
        self._longest = 0
        self._key_BT: Tensor
        """The position of each cached token."""
        self._next_B: Tensor

    def attention(self) -> AbstractContextManager[None]:
        return decoding_attention(self._module)

    def start(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Tensor:
        different = list(dict.fromkeys(prompts))
        self._begin(len(different), max(map(len, prompts)) + min(max_new_tokens, ROOM))
        logits = self._read([prompt[len(self._prefix) :] for prompt in different])
        if len(different) == len(prompts):
            return logits
        place = {prompt: i for i, prompt in enumerate(different)}
        rows = [place[prompt] for prompt in prompts]
        self.keep(rows)
        return logits[rows]

    def _begin(self, num_rows: int, capacity: int) -> None:
        """An empty cache, or one that holds the common prefix in every row."""
        device, length = self._module.device, len(self._prefix)
        self._key_BT = torch.arange(length, device=device).expand(num_rows, length)
        self._padded = False
        if not length:
            self._cache = RowCache(capacity)
            return
        if self._prefix_cache is None:
            self._prefix_cache = self._cache = RowCache(length)
            self._key_BT = self._key_BT[:1, :0]
            self._read([self._prefix])
            self._key_BT = self._key_BT.expand(num_rows, length)
        rows = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self._cache = self._prefix_cache.taking(rows, capacity=capacity)

    def _read(self, rows: Sequence[Prompt]) -> Tensor:
        """Appends token rows, padded on the left; long ones in several passes."""
        num_columns, start = max(map(len, rows)), self._key_BT.shape[1]
        # Padding repeats the row's first token: unlike a fixed one, its embedding has to be sound anyway.
        token_BS = torch.tensor([row[:1] * (num_columns - len(row)) + row for row in rows])
        position_BS = torch.full_like(token_BS, -1)
        for i, row in enumerate(rows):
            position_BS[i, num_columns - len(row) :] = torch.arange(start, start + len(row))
        self._padded = any(len(row) < num_columns for row in rows)
        self._longest = start + num_columns - 1
        device = self._module.device
        token_BS, position_BS = token_BS.to(device), position_BS.to(device)
        self._next_B = position_BS[:, -1] + 1
        columns = max(1, TOKENS_PER_PASS // len(rows))
        logits = torch.empty(0)
        for left in range(0, num_columns, columns):
            logits = self._append(token_BS[:, left : left + columns], position_BS[:, left : left + columns])
        return logits

    def _append(self, token_BS: Tensor, position_BS: Tensor) -> Tensor:
        """One pass; positions below zero mark padding."""
        key_BS = position_BS.masked_fill(position_BS < 0, PADDING)
        self._key_BT = torch.cat([self._key_BT, key_BS], 1)
        query_BS = position_BS.clamp(min=0)
        with seeing(Sight(query_BS, self._key_BT, padded=self._padded, longest=self._longest)):
            return self._forward(token_BS, position_ids=query_BS, past_key_values=self._cache.for_model)

    def step(self, token_B: Tensor) -> Tensor:
        position_B = self._next_B
        self._next_B = position_B + 1
        self._longest += 1
        return self._append(token_B[:, None], position_B[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        rows_B = torch.tensor(rows, device=self._module.device)
        self._cache.keep(rows_B)
        self._key_BT, self._next_B = self._key_BT[rows_B], self._next_B[rows_B]


class EqualLengthDecoder:
    """Rows of one length with the model's own cache and masks: exact for recurrent and other unusual models."""

    pads = False
    shares = False

    def __init__(self, module: PreTrainedModel) -> None:
        self._forward = _Pass(module)
        self._module = module
        self._cache_name = next(
            (name for name in ("past_key_values", "cache_params") if name in self._forward.accepted), None
        )
        self._cache: Cache

    def attention(self) -> AbstractContextManager[None]:
        # Attention made for packed training rows may know nothing of caches.
        own = self._module.config._attn_implementation in {"eager", "sdpa", "flex_attention", "flash_attention_2", None}
        return nullcontext() if own else attention_set_to(self._module, "eager")

    def start(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Tensor:
        from transformers import DynamicCache

        if self._cache_name is None:
            raise ModelError(
                f"{type(self._module).__name__} takes no cache of transformers' kind",
                remedy="choose another base model",
            )
        self._cache = DynamicCache(config=self._module.config)
        return self._call(torch.tensor(prompts, device=self._module.device))

    def _call(self, token_BS: Tensor) -> Tensor:
        assert self._cache_name is not None
        return self._forward(token_BS, **{self._cache_name: self._cache})

    def step(self, token_B: Tensor) -> Tensor:
        return self._call(token_B[:, None])

    def keep(self, rows: Sequence[int]) -> None:
        self._cache.reorder_cache(cast("torch.LongTensor", torch.tensor(rows, device=self._module.device)))
