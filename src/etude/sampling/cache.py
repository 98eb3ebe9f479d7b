"""Keys and values of the rows being decoded: preallocated, grown by doubling, rows chosen by index.

Shape letters: B rows, G key/value heads, T tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class GrowingLayer(CacheLayerMixin):
    """One layer of transformers' cache interface; a new token costs one copy of its own key and value."""

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._room(key_states, key_states.shape[0])
        self.values = self._room(value_states, value_states.shape[0])
        self.is_initialized = True

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return like.new_empty(rows, like.shape[1], self.capacity, like.shape[3])

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Appends [B, G, new, D] and returns all keys and values so far, as views."""
        start, stop = self.length, self.length + key_states.shape[2]
        if not self.is_initialized:
            self.capacity = max(self.capacity, stop)
            self.lazy_initialization(key_states, value_states)
        elif stop > self.capacity:
            self._move(torch.arange(key_states.shape[0], device=key_states.device), max(stop, 2 * self.capacity))
        self.keys[:, :, start:stop] = key_states
        self.values[:, :, start:stop] = value_states
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def _move(self, rows_B: Tensor, capacity: int) -> None:
        self.capacity = capacity
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = self._room(old, len(rows_B))
            new[:, :, : self.length] = old[:, :, : self.length].index_select(0, rows_B)
            setattr(self, name, new)

    def taking(self, rows_B: Tensor, capacity: int) -> GrowingLayer:
        """A new layer whose row i is this one's row `rows_B[i]`; this one stays as it is."""
        new = GrowingLayer(capacity)
        if self.is_initialized:
            new.length, new.is_initialized, new.keys, new.values = self.length, True, self.keys, self.values
            new._move(rows_B, max(capacity, self.length))
        return new

    def reorder_cache(self, beam_idx: Tensor) -> None:
        if self.is_initialized:
            self._move(beam_idx, self.capacity)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1


class RowCache:
    """The layers of the rows being decoded, made one by one as the model first asks for them."""

    def __init__(self, capacity: int, layers: Sequence[GrowingLayer] = ()) -> None:
        self._layers = list(layers)
        self.for_model = Cache(layers=cast("list[Any]", self._layers))
        """What the model's forward takes as `past_key_values`."""
        self.for_model.layer_class_to_replicate = cast("Any", partial(GrowingLayer, capacity))

    def taking(self, rows_B: Tensor, *, capacity: int) -> RowCache:
        """A new cache whose row i is row `rows_B[i]` of this one (rows may repeat); this one stays as it is."""
        return RowCache(capacity, [layer.taking(rows_B, capacity) for layer in self._layers])

    def keep(self, rows_B: Tensor) -> None:
        """Row i becomes what row `rows_B[i]` was."""
        for layer in self._layers:
            layer.reorder_cache(rows_B)
