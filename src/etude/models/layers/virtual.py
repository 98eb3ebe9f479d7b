"""Virtual tokens: learned vectors that stand before every row as if they were tokens of it.

They have ids of their own, from the vocabulary's size on, so that whatever computes rows computes them too: packed
trees share them at the root, and decoding reads them as the beginning of the prompt.

Shape letters: N virtual tokens, E hidden size, T tokens of a tree, O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from etude.batch import Batch, Segment
from etude.models.layers.attached import Attached

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class VirtualTokens(Attached):
    """In place of the token embedding: also knows the rows of the virtual tokens, which an encoder may compute."""

    stored: ClassVar[Mapping[str, str]] = {"prompt": "prompt_embeddings"}

    def __init__(self, base: nn.Module, rows_NE: Tensor, *, encoder: nn.Module | None = None) -> None:
        super().__init__(base)
        self.prompt = nn.Parameter(rows_NE.to(self.weight.device, torch.float32))
        self.encoder = encoder
        self.read: Tensor | None = None
        """Of the last ids that were embedded, which virtual token each is; negative for others."""

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        inside = {} if self.encoder is None else dict(self.encoder.named_parameters(prefix="encoder"))
        return {name: one for name, one in {"prompt": self.prompt, **inside}.items() if one.requires_grad}

    def rows_NE(self) -> Tensor:
        """What the virtual tokens are embedded as, float32."""
        return self.prompt if self.encoder is None else cast("Tensor", self.encoder(self.prompt))

    def forward(self, ids: Tensor) -> Tensor:
        first = self.weight.shape[0]
        self.read = ids - first
        if not self.enabled:
            return cast("Tensor", self.base(ids))
        embedded = cast("Tensor", self.base(ids.clamp(max=first - 1)))
        rows = self.rows_NE().to(embedded.dtype)
        return torch.where((self.read >= 0)[..., None], rows[self.read.clamp(min=0)], embedded)

    def state(self) -> dict[str, Tensor]:
        """The rows as the model sees them: an encoder is for training alone."""
        return {"prompt_embeddings": self.rows_NE().detach()}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Takes the rows as they are; what computed them is left behind."""
        self.encoder = None
        self.prompt.data.copy_(state["prompt_embeddings"])


class PrefixedLinear(Attached):
    """In place of a key or value projection: what the virtual tokens' keys or values are is learned outright.

    (https://arxiv.org/abs/2101.00190)
    """

    stored: ClassVar[Mapping[str, str]] = {"prefix": "prefix"}

    def __init__(self, base: nn.Linear, tokens: VirtualTokens, prefix_NO: Tensor) -> None:
        super().__init__(base)
        self.prefix = nn.Parameter(prefix_NO.to(base.weight.device))
        self._tokens = (tokens,)  # not a part of this module

    def forward(self, x: Tensor) -> Tensor:
        y = cast("Tensor", self.base(x))
        read = self._tokens[0].read
        if not self.enabled or read is None:
            return y
        rows = self.prefix.to(y.dtype)[read.clamp(min=0)]
        return torch.where((read >= 0)[..., None], rows, y)


class Encoder(nn.Module):
    """Computes the rows of virtual tokens from freely learned ones (https://arxiv.org/abs/2103.10385)."""

    def __init__(self, width: int, hidden: int, *, recurrent: bool) -> None:
        super().__init__()
        inside = 2 * hidden if recurrent else width
        self.recurrent = nn.LSTM(width, hidden, num_layers=2, bidirectional=True) if recurrent else None
        sizes = [inside, hidden, width] if recurrent else [inside, hidden, hidden, width]
        layers: list[nn.Module] = []
        for number, (one, other) in enumerate(pairwise(sizes)):
            layers += [nn.ReLU()] * (number > 0) + [nn.Linear(one, other)]
        self.layers = nn.Sequential(*layers)

    def forward(self, rows_NE: Tensor) -> Tensor:
        inside = rows_NE if self.recurrent is None else self.recurrent(rows_NE)[0]
        return cast("Tensor", self.layers(inside))


def virtual_tokens(module: PreTrainedModel) -> VirtualTokens | None:
    """The model's virtual tokens, if there are any and they are switched on."""
    found = module.get_input_embeddings()
    return found if isinstance(found, VirtualTokens) and found.enabled else None


def lead_ids(module: PreTrainedModel) -> tuple[int, ...]:
    """The ids of the virtual tokens, which stand before every row."""
    tokens = virtual_tokens(module)
    if tokens is None:
        return ()
    first = tokens.weight.shape[0]
    return tuple(range(first, first + len(tokens.prompt)))


def led(module: PreTrainedModel, batch: Batch) -> Batch:
    """The batch with the virtual tokens at the root of its tree."""
    ids = lead_ids(module)
    if not ids:
        return batch
    num, device = len(ids), batch.tokens_T.device
    lead = torch.arange(num, device=device)
    whole = torch.full_like(lead, num + len(batch.tokens_T))
    segments = [Segment(one.start + num, one.stop + num, one.parent + 1) for one in batch.segments]
    return replace(
        batch,
        tokens_T=torch.cat([torch.tensor(ids, device=device), batch.tokens_T]),
        position_T=torch.cat([lead, batch.position_T + num]),
        end_T=torch.cat([whole, batch.end_T + num]),
        site_S=batch.site_S + num,
        segments=(Segment(0, num, -1), *segments),
    )
