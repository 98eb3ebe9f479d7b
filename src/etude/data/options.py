"""The knobs of the data's way from file to batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from etude.data.reasoning import Reasoning

Format = Literal[
    "auto", "messages", "sharegpt", "alpaca", "prompt-completion", "preference", "judged", "grounded", "text"
]
TOKENS_PER_BATCH = 4096
OverLength = Literal["error", "drop", "truncate-prompt"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where the examples are and how they become token rows."""

    train: str
    """A JSONL, JSON, CSV, TSV, Parquet or text file, a folder of them, or a hub data-set name."""
    holdout: float | str = 0.1
    """Share of the training rows held out (by group), or a file of its own; 0: none."""
    trusted_pairs: str | None = None
    """Preference pairs (kto: judged answers) whose labels are right, best some of the data's own judged again: by them,
    the share of swapped labels is estimated before training; the same layouts as `train`."""
    format: Format = "auto"
    """The rows' layout; `auto` detects it and says what it found."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the layout → column, or a template such as `"Classify: {text}"`."""
    system: str | None = None
    """System message put before conversations that have none."""
    reasoning: Reasoning = "learn"
    """What becomes of the reasoning in front of answers: `learn` it with them, only `read` it, or `drop` it."""
    max_tokens: int = 1024
    """Longest row, in tokens."""
    over_length: OverLength = "error"
    """What happens to longer rows; answers are never cut."""
    max_bad_share: float = 0.01
    """Share of unusable rows above which the run stops; below it they go to the quarantine file."""
    tokens_per_batch: int | None = None
    """Most tokens in one pass through the model, shared prefixes counted once; when left out 4,096, or max_tokens
    where that is more. Fewer need less memory; the result is the same."""
    steps: tuple[Any, ...] = ()
    """What is done to the training rows before they are split, each step with its `kind` and settings; the file itself
    stays as it is."""
    near_copies: float = 0.8
    """Rows whose prompts and answers are at least so alike never stand on both sides of the split (Jaccard index of
    their sets of 5 characters in a row), and are counted where `holdout` is a file; 0: only equal rows are."""
    share_prefixes: bool = True
    """Compute a prefix common to several rows once."""

    @property
    def tokens_at_once(self) -> int:
        """`tokens_per_batch`, decided."""
        return max(TOKENS_PER_BATCH, self.max_tokens) if self.tokens_per_batch is None else self.tokens_per_batch

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if isinstance(self.holdout, float | int) and not 0 <= self.holdout < 1:
            found.append(("holdout", f"must be from 0 up to but below 1, got {self.holdout:g}"))
        if self.max_tokens < 2:
            found.append(("max_tokens", f"must be at least 2, got {self.max_tokens}"))
        if self.near_copies and not 0.3 <= self.near_copies < 1:
            found.append(("near_copies", f"must be 0, or from 0.3 up to but below 1, got {self.near_copies:g}"))
        if not 0 <= self.max_bad_share <= 1:
            found.append(("max_bad_share", f"must be from 0 to 1, got {self.max_bad_share:g}"))
        if self.tokens_per_batch is not None and self.tokens_per_batch < self.max_tokens:
            found.append(
                ("tokens_per_batch", f"must be at least max_tokens ({self.max_tokens}), got {self.tokens_per_batch}")
            )
        return found
