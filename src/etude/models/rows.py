"""The way for architectures that cannot pack (recurrent state, masks of their own): row by row, padded on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from etude.batch import Batch
from etude.models.lengths import alike

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_row_by_row(module: PreTrainedModel, batch: Batch) -> Tensor:
    """Final hidden states in the tree's order, [T, E], computed on one padded row for each leaf of the tree.

    Exact for any causal model: what stands right of a token cannot change it.
    """
    place_T = torch.zeros(len(batch.tokens_T), dtype=torch.long)
    parts: list[Tensor] = []
    start = 0
    for paths in alike(module, leaf_paths(batch)):
        hidden_RLE = _padded_pass(module, batch, paths)
        longest = hidden_RLE.shape[1]
        for path in paths:
            place_T[path] = start + torch.arange(len(path))
            start += longest
        parts.append(hidden_RLE.flatten(0, 1))
    return torch.cat(parts).index_select(0, place_T.to(batch.tokens_T.device))


def _padded_pass(module: PreTrainedModel, batch: Batch, paths: list[Tensor]) -> Tensor:
    longest = max(len(path) for path in paths)
    index_RL = torch.zeros(len(paths), longest, dtype=torch.long)
    real_RL = torch.zeros(len(paths), longest, dtype=torch.bool)
    for r, path in enumerate(paths):
        index_RL[r, : len(path)] = path
        real_RL[r, : len(path)] = True
    device = batch.tokens_T.device
    out = module.base_model(
        input_ids=batch.tokens_T[index_RL.to(device)], attention_mask=real_RL.long().to(device), use_cache=False
    )
    return cast("Tensor", out.last_hidden_state)


def leaf_paths(batch: Batch) -> list[Tensor]:
    """For each leaf segment, the tree's indices from the root to its last token."""
    parents = {segment.parent for segment in batch.segments}
    paths: list[Tensor] = []
    for i in range(len(batch.segments)):
        if i in parents:
            continue
        pieces: list[Tensor] = []
        at = i
        while at >= 0:
            segment = batch.segments[at]
            pieces.append(torch.arange(segment.start, segment.stop))
            at = segment.parent
        paths.append(torch.cat(pieces[::-1]))
    return paths
