"""Decoding through the compiled forward pass: no padding, prompts as a tree, each token's keys and values stored once.

Shape letters: B rows, T tokens of the prompts' tree, S sites, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.batch import Sample, TokenRow
from etude.models.paged import PAGE, PagedModel, Reading
from etude.packing import pack
from etude.sampling.answer import Prompt

if TYPE_CHECKING:
    from etude.batch import Batch

TOKENS_PER_PASS = 256
"""Prompt tokens computed at once: what lies between the layers then stays in the processor's caches."""


class PagePool:
    """Pages as addresses; memory is asked for as rows need it and kept for the next ones."""

    def __init__(self, numbers: int, dtype: torch.dtype) -> None:
        self._numbers = numbers
        self._dtype = dtype
        self._memory: list[Tensor] = []
        self._free: list[int] = []

    def take(self, num: int) -> list[int]:
        missing = num - len(self._free)
        if missing > 0:
            # Zeros, because what nobody may see is still multiplied, by a weight of 0.
            memory = torch.zeros(missing, self._numbers, dtype=self._dtype)
            self._memory.append(memory)
            self._free += [page.data_ptr() for page in memory]
        taken = self._free[len(self._free) - num :]
        del self._free[len(self._free) - num :]
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
        filled = [PAGE] * (num_tokens // PAGE) + [num_tokens % PAGE] * (num_tokens % PAGE > 0)
        return Path((*self.pages, *pages), (*self.filled, *filled), self.num_tokens + num_tokens)


@dataclass(slots=True)
class _Row:
    prompt: Path
    pages: list[int] = field(default_factory=list)
    """Those of the answer."""


class PagedDecoder:
    """Rows share the pages of what their prompts have in common; a row that leaves gives its own ones back."""

    pads = True

    def __init__(self, model: PagedModel, prefix: Prompt) -> None:
        self._model = model
        self._prefix = prefix
        """Common to all prompts of all batches."""
        self._prefix_path: Path | None = None
        self._pool = PagePool(model.page_numbers, model.dtype)
        self._prompt_pages: list[int] = []
        self._rows: list[_Row] = []
        self._num_new = 0
        """Tokens that each row's answer has so far."""
        self._tokens: Reading | None = None
        """The rows' last tokens; None where the rows or their pages are no longer the same."""

    def attention(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Tensor:
        self.keep([])
        if self._prefix_path is None:
            self._prefix_path = self._read([self._prefix], Path())[0][0] if self._prefix else Path()
        else:
            self._pool.give_back(self._prompt_pages)
        self._prompt_pages = []
        different = list(dict.fromkeys(prompts))
        paths, logits_SV = self._read([prompt[len(self._prefix) :] for prompt in different], self._prefix_path)
        place = {prompt: i for i, prompt in enumerate(different)}
        self._rows = [_Row(paths[place[prompt]]) for prompt in prompts]
        self._num_new = 0
        return logits_SV if len(different) == len(prompts) else logits_SV[[place[prompt] for prompt in prompts]]

    def _read(self, prompts: Sequence[Prompt], before: Path) -> tuple[list[Path], Tensor]:
        """Different prompts, as a tree, into new pages: each one's path, and the logits after its last token."""
        rows = [TokenRow((*prompt, 0), (0.0,) * len(prompt) + (1.0,)) for prompt in prompts]
        tree = pack([Sample("", (row,)) for row in rows])
        segment_of_T, tokens, paths = self._lay_out(tree, before)
        order_S = tree.site_S.argsort()
        site_S, parts = tree.site_S[order_S], []
        for start in range(0, len(tokens.token_T), TOKENS_PER_PASS):
            stop = start + TOKENS_PER_PASS
            inside = (start <= site_S) & (site_S < stop)
            parts.append(self._model.logits(tokens.part(start, stop), site_S[inside] - start))
        logits_SV = torch.cat(parts)[order_S.argsort()]
        return [paths[i] for i in segment_of_T[tree.site_S].tolist()], logits_SV

    def _lay_out(self, tree: Batch, before: Path) -> tuple[Tensor, Reading, list[Path]]:
        """Pages for each segment; the segment of each token, the tokens to read, each segment's path."""
        paths: list[Path] = []
        first: list[int] = []
        num_before: list[int] = []
        for segment in tree.segments:
            above = before if segment.parent < 0 else paths[segment.parent]
            num_tokens = segment.stop - segment.start
            pages = self._pool.take(-(-num_tokens // PAGE))
            self._prompt_pages += pages
            first.append(sum(len(path.pages) for path in paths))
            num_before.append(len(above.pages))
            paths.append(above.longer(pages, num_tokens))
        length_S = torch.tensor([segment.stop - segment.start for segment in tree.segments])
        start_S = torch.tensor([segment.start for segment in tree.segments])
        segment_T = torch.arange(len(length_S)).repeat_interleave(length_S)
        offset_T = torch.arange(len(segment_T)) - start_S[segment_T]
        tokens = Reading(
            token_T=tree.tokens_T,
            position_T=tree.position_T + before.num_tokens,
            first_T=torch.tensor(first)[segment_T],
            num_pages_T=torch.tensor(num_before)[segment_T] + offset_T // PAGE + 1,
            last_T=offset_T % PAGE + 1,
            page_N=torch.tensor([page for path in paths for page in path.pages]),
            filled_N=torch.tensor([filled for path in paths for filled in path.filled]),
        )
        return segment_T, tokens, paths

    def step(self, token_B: Tensor) -> Tensor:
        if self._num_new % PAGE == 0:
            for row, page in zip(self._rows, self._pool.take(len(self._rows)), strict=True):
                row.pages.append(page)
            self._tokens = None
        if self._tokens is None:
            self._tokens = self._last_tokens(token_B)
        else:
            before = self._tokens
            self._tokens = replace(
                before, token_T=token_B, position_T=before.position_T + 1, last_T=before.last_T + 1
            )
        self._num_new += 1
        return self._model.logits(self._tokens, torch.arange(len(token_B)))

    def _last_tokens(self, token_B: Tensor) -> Reading:
        lists = [(*row.prompt.pages, *row.pages) for row in self._rows]
        filled = [(*row.prompt.filled, *[PAGE] * len(row.pages)) for row in self._rows]
        num_pages_B = torch.tensor([len(pages) for pages in lists])
        return Reading(
            token_T=token_B,
            position_T=torch.tensor([row.prompt.num_tokens for row in self._rows]) + self._num_new,
            first_T=num_pages_B.cumsum(0) - num_pages_B,
            num_pages_T=num_pages_B,
            last_T=torch.full_like(num_pages_B, self._num_new % PAGE + 1),
            page_N=torch.tensor([page for pages in lists for page in pages]),
            filled_N=torch.tensor([count for counts in filled for count in counts]),
        )

    def keep(self, rows: Sequence[int]) -> None:
        going = set(rows)
        for i, row in enumerate(self._rows):
            if i not in going:
                self._pool.give_back(row.pages)
        self._rows = [self._rows[i] for i in rows]
        self._tokens = None
