"""What a model asks of attention, read off one short pass, so that packing drops no mask or setting unseen.

A model's own attention follows the mask that it asked transformers for, packed attention the window that it names
beside it. Where both say the same, rows of any length are right, also those longer than a probe can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from etude.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FAR = 1 << 17
"""Windows this long are as good as none."""
ANOTHER = FAR - 12_345
"""A second place to look from: a window moves along, a chunk stands still."""
HARMLESS = frozenset(
    {
        "cache_position", "deterministic", "hidden_states", "is_causal", "logits_to_keep", "num_items_in_batch",
        "output_attentions", "output_hidden_states", "output_router_logits", "position_embeddings", "position_ids",
        "return_dict", "use_cache",
    }
)  # fmt: skip
"""Settings that models hand to attention and that change nothing about it."""


@dataclass(slots=True)
class Asked:
    """The masks of one pass with the window that each shows, and all windows of its layers."""

    masks: list[tuple[Tensor, int | None]] = field(default_factory=list)
    windows: set[int | None] = field(default_factory=set)

    def note_mask(self, mask: Tensor, shows: Callable[..., Any]) -> None:
        self.masks.append((mask, _window_of(shows)))

    def note_layer(self, module: torch.nn.Module, mask: Tensor | None, window: int | None) -> None:
        """Raises ModelError where the layer's mask shows something else than its window."""
        window = None if window is None or window > FAR else window
        known = [shown for one, shown in self.masks if mask is not None and one.data_ptr() == mask.data_ptr()]
        if mask is not None and not known:
            raise _refusal(module, "a mask of its own")
        if known and known[0] != window:
            raise _refusal(module, f"a mask that shows {known[0] or 'all'} tokens where its window is {window}")
        self.windows.add(window)


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def asking() -> Iterator[Asked]:
    """Inside the block, plain passes note here what they ask of attention."""
    asked = Asked()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def now_asked() -> Asked | None:
    """Where the pass under way notes what it asks, if somebody wants to know."""
    return _asked.get()


def windows_of(module: PreTrainedModel) -> set[int | None]:
    """The sliding windows of a model's layers (None: sees all), from one pass over a few tokens.

    Raises:
        ModelError: it attends in a way that packed attention does not know.
    """
    with asking() as asked, torch.no_grad():
        module.base_model(input_ids=torch.zeros(1, 4, dtype=torch.long, device=module.device), use_cache=False)
    if not asked.windows:
        raise ModelError(f"{type(module).__name__} has no attention")
    return asked.windows


def refuse_unknown(module: torch.nn.Module, settings: Mapping[str, Any]) -> None:
    """Raises ModelError for a setting that changes attention in a way that is not known here (sinks, biases)."""
    unknown = [name for name, value in settings.items() if value is not None and name not in HARMLESS]
    if settings.get("is_causal") is False:
        unknown.append("is_causal=False")
    if unknown:
        raise _refusal(module, ", ".join(sorted(unknown)))


def _refusal(module: torch.nn.Module, what: str) -> ModelError:
    return ModelError(f"{type(module).__name__} attends with {what}, which packed attention does not know")


def _window_of(shows: Callable[..., Any]) -> int | None:
    """How many of the last tokens a mask shows to each token; None for all.

    Raises:
        ModelError: it is neither causal nor a causal window.
    """
    seen = [_num_seen(shows, at) for at in (FAR, ANOTHER)]
    if seen == [FAR + 1, ANOTHER + 1]:
        return None
    if seen[0] is None or seen[0] != seen[1] or seen[0] > ANOTHER:
        raise ModelError("it asks for a mask that is no causal window")
    return seen[0]


def _num_seen(shows: Callable[..., Any], at: int) -> int | None:
    """How many tokens the token at this place sees, if these are the last ones up to itself."""
    first = torch.tensor(0)
    try:
        visible = shows(first, first, torch.tensor(at), torch.arange(at + 2)).expand(at + 2)
    except (IndexError, RuntimeError, TypeError, AttributeError):  # made for the tokens at hand
        return None
    number = int(visible.sum())
    return number if number and bool(visible[at + 1 - number : at + 1].all()) else None
