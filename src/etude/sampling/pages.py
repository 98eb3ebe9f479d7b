"""Which pages of keys and values each row sees, and where its next token goes.

Shape letters: B rows, C pages that a row has room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from etude.models.paged import PAGE, Reading


class PagePool:
    """Pages as addresses; memory is asked for as rows need it and kept for those that come after."""

    def __init__(self, numbers: int, dtype: torch.dtype) -> None:
        self._numbers = numbers
        self._dtype = dtype
        self._memory: list[Tensor] = []
        self._free: list[int] = []

    @property
    def num_pages(self) -> int:
        """Pages in memory, held or free."""
        return sum(map(len, self._memory))

    def take(self, num: int) -> list[int]:
        missing = num - len(self._free)
        if missing > 0:
            # Zeros, because what nobody may see is multiplied too, by a weight of 0.
            memory = torch.zeros(missing, self._numbers, dtype=self._dtype)
            self._memory.append(memory)
            self._free += [page.data_ptr() for page in memory]
        kept = len(self._free) - num
        taken, self._free = self._free[kept:], self._free[:kept]
        return taken

    def give_back(self, pages: Sequence[int]) -> None:
        self._free += pages


@dataclass(frozen=True, slots=True)
class Path:
    """The pages from the first token to some token, and how far each is filled."""

    pages: tuple[int, ...] = ()
    filled: tuple[int, ...] = ()
    num_tokens: int = 0

    def longer(self, pages: Sequence[int], num_tokens: int) -> Path:
        """With so many tokens more, on pages of their own."""
        filled = [min(PAGE, num_tokens - start) for start in range(0, num_tokens, PAGE)]
        return Path((*self.pages, *pages), (*self.filled, *filled), self.num_tokens + num_tokens)


class Rows:
    """The rows being answered; their pages in a table that is only rebuilt when it grows."""

    def __init__(self, paths: Sequence[Path], may_fill: Sequence[bool]) -> None:
        """`may_fill`: whether an answer goes on where its prompt ends, on the same page, or needs a new one."""
        num_pages = [len(path.pages) for path in paths]
        last = [path.filled[-1] if fills else PAGE for path, fills in zip(paths, may_fill, strict=True)]
        # A page that is still being filled counts as full, because it will be when another follows it.
        filled = [
            (*path.filled[:-1], PAGE if fills else path.filled[-1]) for path, fills in zip(paths, may_fill, strict=True)
        ]
        self._page_BC = _table([path.pages for path in paths], 0)
        self._filled_BC = _table(filled, PAGE)
        self._num_pages_B = torch.tensor(num_pages)
        self._last_B = torch.tensor(last)
        """Tokens on the last page, or PAGE where no more may go there."""
        self._position_B = torch.tensor([path.num_tokens for path in paths])
        """Of the next token."""

    def full(self) -> list[int]:
        """The rows that need a page for their next token."""
        full: list[int] = (self._last_B == PAGE).nonzero()[:, 0].tolist()
        return full

    def add_page(self, row: int, page: int) -> None:
        num_pages = int(self._num_pages_B[row])
        if num_pages == self._page_BC.shape[1]:
            self._page_BC = torch.nn.functional.pad(self._page_BC, (0, num_pages))
            self._filled_BC = torch.nn.functional.pad(self._filled_BC, (0, num_pages), value=PAGE)
        self._page_BC[row, num_pages] = page
        self._num_pages_B[row] += 1
        self._last_B[row] = 0

    def reading(self, token_B: Tensor) -> Reading:
        """Each row's next token; the rows then stand after it."""
        self._last_B = self._last_B + 1
        self._position_B = self._position_B + 1
        num_rows, capacity = self._page_BC.shape
        return Reading(
            token_T=token_B,
            position_T=self._position_B - 1,
            first_T=torch.arange(num_rows) * capacity,
            num_pages_T=self._num_pages_B,
            last_T=self._last_B,
            page_N=self._page_BC.view(-1),
            filled_N=self._filled_BC.view(-1),
        )

    def keep(self, rows: Sequence[int]) -> None:
        for name in ("_page_BC", "_filled_BC", "_num_pages_B", "_position_B", "_last_B"):
            setattr(self, name, getattr(self, name)[list(rows)])


def _table(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([(*row, *(padding,) * (longest - len(row))) for row in rows])
