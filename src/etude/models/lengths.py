"""What a model does with long rows: some turn all rows of a pass by the longest one, some have no positions left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from etude.batch import Batch
from etude.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Rescaling:
    """Rotary angles that depend on the longest row of a pass (https://arxiv.org/abs/2402.13753, dynamic scaling)."""

    beyond: int
    """Rows up to this length are all turned alike."""
    by_length: bool
    """Longer rows are turned each by its own length, not all alike; the model remembers the longest so far."""


def rescaling_of(module: PreTrainedModel) -> Rescaling | None:
    """What the model's configuration says, for whichever of its layers it says it first."""
    config = module.config.get_text_config().to_dict()
    rope = config.get("rope_parameters") or {}
    found: list[Rescaling] = []
    for one in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        kind = one.get("rope_type")
        if kind == "longrope":
            found.append(Rescaling(int(one["original_max_position_embeddings"]), by_length=False))
        elif kind == "dynamic":  # at exactly its first length it does not forget a longer row
            found.append(Rescaling(int(config["max_position_embeddings"]) - 1, by_length=True))
    return min(found, key=lambda one: one.beyond, default=None)


def longest_row(batch: Batch) -> int:
    """Tokens from a root to the farthest leaf."""
    depths: list[int] = []
    for segment in batch.segments:
        above = depths[segment.parent] if segment.parent >= 0 else 0
        depths.append(above + segment.stop - segment.start)
    return max(depths)


def packs_at_this_length(module: PreTrainedModel, batch: Batch) -> bool:
    """Whether all rows of the batch are treated alike, so that they can share a pass.

    Raises:
        DataError: a row is longer than the model's table of positions.
    """
    longest = longest_row(batch)
    config = module.config.get_text_config()
    limit = config.to_dict().get(config.attribute_map.get("max_position_embeddings", "max_position_embeddings"))
    if limit is not None and longest > limit and _has_position_table(module):
        raise DataError(
            f"a row has {longest} tokens and the model positions for {limit}",
            where=", ".join(batch.sample_ids[:4]),
            remedy="set data.max_tokens to what the model can read",
        )
    rescaling = rescaling_of(module)
    return rescaling is None or longest <= rescaling.beyond


def _has_position_table(module: PreTrainedModel) -> bool:
    tables = [name.rpartition(".")[2] for name, one in module.named_modules() if isinstance(one, nn.Embedding)]
    return any(name == "wpe" or "position" in name for name in tables)


def alike(module: PreTrainedModel, paths: list[Tensor]) -> Iterator[list[int]]:
    """The rows, by number, in groups that one pass treats as it would treat each row alone."""
    rescaling = rescaling_of(module)
    if rescaling is None:
        yield list(range(len(paths)))
        return
    short, long = (
        [i for i, path in enumerate(paths) if (len(path) > rescaling.beyond) == far] for far in (False, True)
    )
    if short:
        yield short
    if long and not rescaling.by_length:
        yield long
        return
    for i in long:
        with torch.no_grad():  # a short pass makes it forget the longest row so far
            module.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=module.device), use_cache=False)
        yield [i]
