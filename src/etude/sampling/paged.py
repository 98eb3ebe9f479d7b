"""Decoding through the compiled forward pass: no padding, prompts as a tree, each token's keys and values stored once.

Shape letters: B rows, T tokens of the prompts' tree, S sites, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.batch import Sample, TokenRow
from etude.models.paged import PAGE, PagedModel, Reading
from etude.packing import pack
from etude.sampling.answer import Prompt
from etude.sampling.pages import PagePool, Path, Rows

if TYPE_CHECKING:
    from etude.batch import Batch

TOKENS_PER_PASS = 256
"""Prompt tokens computed at once: what lies between the layers then stays in the processor's caches."""


class PagedDecoder:
    """Rows share the pages of what their prompts have in common; a row that leaves gives its own ones back."""

    pads = True
    shares = True

    def __init__(self, model: PagedModel, prefix: Prompt) -> None:
        self._model = model
        self._prefix = prefix
        """Common to all prompts of all batches."""
        self._prefix_path: Path | None = None
        self._pool = PagePool(model.page_numbers, model.dtype)
        self._prompt_pages: list[int] = []
        self._own_pages: list[list[int]] = []
        """Those that only one row, still going, holds."""
        self._rows: Rows

    def attention(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start(self, prompts: Sequence[Prompt], max_new_tokens: int) -> Tensor:
        self._pool.give_back([*self._prompt_pages, *chain(*self._own_pages)])
        self._prompt_pages = []
        if self._prefix_path is None:
            self._prefix_path = self._read([self._prefix], Path())[0][0][0] if self._prefix else Path()
            self._prompt_pages = []  # the prefix stays
        number = Counter(prompts)
        paths, logits_SV = self._read([prompt[len(self._prefix) :] for prompt in number], self._prefix_path)
        place = {prompt: i for i, prompt in enumerate(number)}
        self._rows = Rows(
            [paths[place[prompt]][0] for prompt in prompts],
            [paths[place[prompt]][1] and number[prompt] == 1 for prompt in prompts],
        )
        self._own_pages = [[] for _ in prompts]
        return logits_SV if len(number) == len(prompts) else logits_SV[[place[prompt] for prompt in prompts]]

    def _read(self, prompts: Sequence[Prompt], before: Path) -> tuple[list[tuple[Path, bool]], Tensor]:
        """Different prompts, as a tree, into new pages; the logits after the last token of each.

        For each also its path, and whether nothing else in the tree goes on from its end.
        """
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
        parents = {segment.parent for segment in tree.segments}
        return [(paths[i], i not in parents) for i in segment_of_T[tree.site_S].tolist()], logits_SV

    def _lay_out(self, tree: Batch, before: Path) -> tuple[Tensor, Reading, list[Path]]:
        """Pages for each segment; the segment of each token, the tokens to read, each segment's path."""
        paths: list[Path] = []
        first: list[int] = [0]
        num_before: list[int] = []
        for segment in tree.segments:
            above = before if segment.parent < 0 else paths[segment.parent]
            num_tokens = segment.stop - segment.start
            pages = self._pool.take(-(-num_tokens // PAGE))
            self._prompt_pages += pages
            num_before.append(len(above.pages))
            paths.append(above.longer(pages, num_tokens))
            first.append(first[-1] + len(paths[-1].pages))
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
        full = self._rows.full()
        for row, page in zip(full, self._pool.take(len(full)), strict=True):
            self._own_pages[row].append(page)
            self._rows.add_page(row, page)
        return self._model.logits(self._rows.reading(token_B), torch.arange(len(token_B)))

    def keep(self, rows: Sequence[int]) -> None:
        for row in set(range(len(self._own_pages))).difference(rows):
            self._pool.give_back(self._own_pages[row])
        self._own_pages = [self._own_pages[row] for row in rows]
        self._rows.keep(rows)
