"""A llama-like model as one compiled forward pass over a paged cache: what decoding on a CPU runs on.

Shape letters: T tokens of a pass, S sites (tokens after which a prediction is wanted), E hidden size, I intermediate
size, O outputs, R ranks of a product's adapters, D head size, V vocabulary. `kernels/paged.h` mirrors what is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from etude.models import kernels
from etude.models.fused import AttentionHalf, FeedForwardHalf, read_halves
from etude.models.precision import dtype_of
from etude.models.projections import Projections

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from etude.models.fused_attention import Heads

PAGE = 32
"""Tokens of a page."""
COLUMNS = 16
"""Most query heads of one key head."""
MAX_HEAD = 256
MIN_HEAD = 8
"""Numbers of a head that are worked on together."""
RANK_STEP = 32
"""Ranks are padded to this: what one step of a tile product takes."""
GROWING_ROTATIONS = frozenset({"dynamic", "longrope"})
"""Rotary angles that depend on how long the row has become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Tokens to be read in one pass, and the list of pages that each sees; the last page is where it is kept itself."""

    token_T: Tensor
    position_T: Tensor
    """Distance from the root."""
    first_T: Tensor
    """Where in `page_N` its list begins."""
    num_pages_T: Tensor
    last_T: Tensor
    """How many tokens it sees of its last page, itself included."""
    page_N: Tensor
    """Lists of pages end to end, as addresses."""
    filled_N: Tensor
    """How many tokens of a page may be seen by those of whose list it is not the last."""

    def part(self, start: int, stop: int) -> Reading:
        """Some of the tokens."""
        names = ("token_T", "position_T", "first_T", "num_pages_T", "last_T")
        return replace(self, **{name: getattr(self, name)[start:stop] for name in names})


class PagedModel:
    """The weights as they were when it was made: adapters are part of the products, later changes of them are not."""

    def __init__(
        self, module: PreTrainedModel, halves: Sequence[tuple[AttentionHalf, FeedForwardHalf]], num_positions: int
    ) -> None:
        self.module = module
        self.dtype = dtype_of(module)
        attention, feed_forward = halves[0]
        self._num_layers = len(halves)
        base, head = cast("Any", module.base_model), cast("nn.Linear", module.get_output_embeddings())
        self._heads: Heads = attention.heads
        self._eps = attention.norm.eps
        self._vocabulary, self._hidden = head.weight.shape
        self._intermediate = feed_forward.down.shape[1]
        self._max_rank = 0
        self._kept: list[Tensor] = []
        """Memory that the tables point at."""
        layers = [number for pair in halves for half in pair for number in self._layer_half(half)]
        cos, sin = base.rotary_emb(torch.empty(0, dtype=torch.float32), torch.arange(num_positions)[None])
        half = cos.shape[-1] // 2
        angles = [one[0, :, :half].float().contiguous() for one in (cos, sin)]
        sizes = (len(halves), self._hidden, self._heads.query, self._heads.key, self._heads.size, self._intermediate)
        numbers = [
            self._address(torch.tensor(layers, dtype=torch.int64)),
            *sizes,
            self._address(base.norm.weight),
            *(self._address(head.weight), 0, 0, 0, self._hidden, self._vocabulary, 0),
            *map(self._address, angles),
        ]
        self._network = torch.tensor(numbers, dtype=torch.int64)
        self._room = 0

    @staticmethod
    def of(module: PreTrainedModel, num_positions: int) -> PagedModel | None:
        """None where the model, or what a technique attached to it, is not known here."""
        halves, base, head = read_halves(module), cast("Any", module.base_model), module.get_output_embeddings()
        if halves is None or type(head) is not nn.Linear or head.bias is not None:
            return None
        heads = halves[0][0].heads
        windows = [attention.window for attention, _ in halves if attention.window is not None]
        types = {dtype for pair in halves for half in pair for dtype in _types(half)}
        norms = [half.norm.eps for pair in halves for half in pair]
        known = (
            kernels.computes(head.weight)
            and all(attention.prefix is None for attention, _ in halves)
            and types | {base.norm.weight.dtype, base.embed_tokens.weight.dtype} == {head.weight.dtype}
            and heads.query % heads.key == 0
            and heads.query <= COLUMNS * heads.key
            and MIN_HEAD <= heads.size <= MAX_HEAD
            and set(norms) == {float(base.norm.variance_epsilon)}
            and base.rotary_emb.rope_type not in GROWING_ROTATIONS
            and num_positions <= min(windows, default=num_positions)
        )
        return PagedModel(module, halves, num_positions) if known else None

    @property
    def page_numbers(self) -> int:
        """Numbers of a page: keys and values of its tokens in all layers."""
        return self._num_layers * 2 * self._heads.key * PAGE * self._heads.size

    def _address(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        tensor = tensor.detach().contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _layer_half(self, half: AttentionHalf | FeedForwardHalf) -> Iterator[int]:
        """A norm and its half's two products, as the kernel reads them."""
        yield self._address(half.norm.weight_E)
        for product in _products(half):
            low, high = _thin(product)
            rank = 0 if low is None else len(low)
            self._max_rank = max(self._max_rank, rank)
            outputs, inputs = product.shape
            yield from map(self._address, (product.weight_OI, product.bias_O, low, high))
            yield from (inputs, outputs, rank)

    def logits(self, tokens: Reading, site_S: Tensor) -> Tensor:
        """Reads the tokens into the pages and predicts what follows each site, [S, V]."""
        num, num_sites = len(tokens.token_T), len(site_S)
        if num > self._room:
            self._make_room(num)
        x_TE: Tensor = cast("Any", self.module.base_model).embed_tokens(tokens.token_T)
        logits_SV = torch.empty(num_sites, self._vocabulary, dtype=self.dtype)
        told = (tokens.position_T, tokens.first_T, tokens.num_pages_T, tokens.last_T, tokens.page_N, tokens.filled_N)
        addresses = [one.data_ptr() for one in (*told, site_S, *self._scratch, logits_SV)]
        reading = torch.tensor([num, num_sites, *addresses], dtype=torch.int64)
        kernels.run("paged_forward", x_TE, self._network, reading, self._eps, float(self._heads.scale))
        return logits_SV

    def _make_room(self, num_tokens: int) -> None:
        self._room = num_tokens
        widest = max(self._hidden, self._heads.query * self._heads.size, self._intermediate)
        columns = (self._hidden, widest, self._heads.width, 2 * self._intermediate, self._max_rank)
        numbers = [torch.empty(num_tokens, size, dtype=self.dtype) for size in columns]
        words = (widest + self._max_rank) * self.dtype.itemsize // 4 + 1
        packed = torch.empty((num_tokens + 31) // 32 * 32, words, dtype=torch.int32)
        self._scratch = (torch.arange(num_tokens), *numbers, packed)


def _types(half: AttentionHalf | FeedForwardHalf) -> Iterator[torch.dtype]:
    """The data types of everything of a half that the kernel reads."""
    yield half.norm.weight_E.dtype
    for product in _products(half):
        yield product.dtype
        if product.bias_O is not None:
            yield product.bias_O.dtype


def _products(half: AttentionHalf | FeedForwardHalf) -> tuple[Projections, Projections]:
    return (half.qkv, half.out) if isinstance(half, AttentionHalf) else (half.gate_up, half.down)


def _thin(product: Projections) -> tuple[Tensor | None, Tensor | None]:
    """A product's adapters as two matrices, [R, I] and (scaled, on a diagonal of blocks) [O, R], padded with zeros."""
    if not product.adapters:
        return None, None
    rank = sum(len(one.lora_A) for _, one in product.adapters)
    low_RI = torch.zeros(-(-rank // RANK_STEP) * RANK_STEP, product.shape[1], dtype=product.dtype)
    high_OR = torch.zeros(product.shape[0], len(low_RI), dtype=product.dtype)
    start = 0
    for row, one in product.adapters:
        stop = start + len(one.lora_A)
        low_RI[start:stop] = one.lora_A.detach()
        high_OR[row : row + len(one.lora_B), start:stop] = one.lora_B.detach() * one.scale
        start = stop
    return low_RI, high_OR
