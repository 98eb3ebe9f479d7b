"""The way for architectures that cannot pack (recurrent state, masks of their own): row by row, padded on the right."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from etude.batch import Batch
from etude.models.lengths import alike, packs_at_this_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def site_states_by_row(module: PreTrainedModel, batch: Batch) -> Tensor:
    """Final hidden states at the sites, [S, E], each computed on a padded row of its own.

    Exact for any causal model: what stands right of a token cannot change it. One row for each leaf is enough, but a
    model that turns rows by their length computes a shared prefix in each of its rows.
    """
    if packs_at_this_length(module, batch):
        paths = leaf_paths(batch)
        path_of_site = _path_of_node(paths, len(batch.tokens_T))[batch.site_S.cpu()].tolist()
    else:
        paths = row_paths(batch)
        path_of_site = batch.row_S.tolist()
    start_of: dict[int, int] = {}
    parts: list[Tensor] = []
    length = 0
    for some in alike(module, paths):
        hidden_RLE = _padded_pass(module, batch, [paths[i] for i in some])
        for i in some:
            start_of[i] = length
            length += hidden_RLE.shape[1]
        parts.append(hidden_RLE.flatten(0, 1))
    device = batch.tokens_T.device
    start_S = torch.tensor([start_of[i] for i in path_of_site], dtype=torch.long, device=device)
    return torch.cat(parts).index_select(0, start_S + batch.position_T[batch.site_S])


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
    return [_path_to(batch, i) for i in range(len(batch.segments)) if i not in parents]


def row_paths(batch: Batch) -> list[Tensor]:
    """For each row, the tree's indices from the root to the last token that one of its sites needs."""
    last = torch.zeros(batch.num_rows, dtype=torch.long)
    last.scatter_reduce_(0, batch.row_S.cpu(), batch.site_S.cpu(), "amax")
    starts = [segment.start for segment in batch.segments]
    ends = [(bisect_right(starts, token) - 1, token) for token in last.tolist()]
    return [path[path <= token] for i, token in ends for path in (_path_to(batch, i),)]


def _path_to(batch: Batch, at: int) -> Tensor:
    pieces: list[Tensor] = []
    while at >= 0:
        segment = batch.segments[at]
        pieces.append(torch.arange(segment.start, segment.stop))
        at = segment.parent
    return torch.cat(pieces[::-1])


def _path_of_node(paths: list[Tensor], num_tokens: int) -> Tensor:
    found = torch.zeros(num_tokens, dtype=torch.long)
    for i, path in enumerate(paths):
        found[path] = i
    return found
