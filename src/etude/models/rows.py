"""The way for architectures that cannot pack (recurrent state, masks of their own): row by row, padded on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from etude.batch import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_row_by_row(module: PreTrainedModel, batch: Batch) -> Tensor:
    """Final hidden states in the tree's order, [T, E], computed on one padded row for each leaf of the tree.

    Exact for any causal model: what stands right of a token cannot change it.
    """
    paths = leaf_paths(batch)
    longest = max(len(path) for path in paths)
    index_RL = torch.zeros(len(paths), longest, dtype=torch.long)
    real_RL = torch.zeros(len(paths), longest, dtype=torch.bool)
    place_T = torch.zeros(len(batch.tokens_T), dtype=torch.long)
    for r, path in enumerate(paths):
        index_RL[r, : len(path)] = path
        real_RL[r, : len(path)] = True
        place_T[path] = r * longest + torch.arange(len(path))
    device = batch.tokens_T.device
    out = module.base_model(
        input_ids=batch.tokens_T[index_RL.to(device)], attention_mask=real_RL.long().to(device), use_cache=False
    )
    hidden_RLE = cast("Tensor", out.last_hidden_state)
    return hidden_RLE.flatten(0, 1).index_select(0, place_T.to(device))


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
