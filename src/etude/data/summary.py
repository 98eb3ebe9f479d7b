"""What a data set came to, as a run writes it down in `data.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from etude.data.show import Piece
from etude.data.store import TokenStore


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Over the training rows."""

    total: int
    learned: int
    longest: int
    median: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a run writes as `data.json`."""

    source: str
    detected: str
    format: str
    sha256: str
    rows: int
    """Usable rows read, held-out ones included."""
    bad_rows: int
    train_rows: int
    heldout_rows: int
    tokens: TokenCounts
    over_length: dict[str, Any]
    """policy, and how many rows were dropped and truncated."""
    windows: dict[str, int]
    """Plain texts longer than max_tokens, and the windows they became."""
    duplicates: dict[str, int]
    """within_train: rows that repeat an earlier one; across_split: held-out rows that also stand in training rows;
    near_across_split: those that a training row nearly equals, looked for where the held-out rows are a file."""
    odd: dict[str, int]
    """Rows whose content spells a control token (control_text), or whose answer would merge with the template's text
    before it if tokenized as one string (boundary). Neither changes what is learned."""
    template_sha256: str
    examples: list[list[Piece]]
    notes: list[str]
    """Sentences worth printing before a run."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """What was done to the rows before, as the steps' manifests say it."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def token_counts(rows: TokenStore) -> TokenCounts:
    """How many and how long."""
    sizes = np.sort(rows.row_sizes())
    middle, last = len(sizes) // 2, len(sizes) - 1
    return TokenCounts(
        total=int(sizes.sum()),
        learned=rows.num_learned(),
        longest=int(sizes[-1]),
        median=int(sizes[middle]) if len(sizes) % 2 else float(sizes[middle - 1] + sizes[middle]) / 2,
        p95=float(sizes[min(last, round(0.95 * last))]),
    )


def notes(summary: DataSummary) -> list[str]:
    """Sentences about what was left out, shortened or odd."""
    over, odd, copies = summary.over_length, summary.odd, summary.duplicates
    said = [
        (summary.bad_rows, "{:,} unusable rows were left out"),
        (over["dropped"], "{:,} rows were dropped because they are longer than max_tokens"),
        (over["truncated"], "{:,} rows had their prompt shortened to fit max_tokens"),
        (
            summary.windows["texts"],
            "{:,} long texts are learned in " + f"{summary.windows['windows']:,} windows of max_tokens",
        ),
        (copies["within_train"], "{:,} training rows repeat an earlier one"),
        (
            copies["across_split"],
            "{:,} held-out rows also stand in the training rows, which flatters the held-out loss",
        ),
        (
            copies["near_across_split"] - copies["across_split"],
            "{:,} held-out rows are nearly equal to a training row, which flatters the held-out loss",
        ),
        (odd["control_text"], "{:,} rows spell a control token in their text; it is encoded as ordinary text"),
        (odd["boundary"], "{:,} rows have an answer that other tools would merge with the template's text before it"),
    ]
    return [words.format(number) for number, words in said if number > 0]
