"""What an evaluation found: every item with its scores, and the numbers made from them.

A report is also a file, JSON lines. The first line is `{"report": {...}}` with

    format            1
    task, metric      the task's name; the primary score, a key of `summary` and of every item's `scores`
    higher_is_better  false for perplexity's nats per token
    subject           the model's or run's name
    model_hash        sha256 of the base weights
    data_sha256       of the task's data files
    template_sha256   of the chat template that rendered the prompts
    settings          the task's settings (metric, labels, fields, pattern, max_new_tokens, ...) and the limit
    summary           name → number: the mean of every item score, and
                        label: macro_f1, unknown (share of answers that are no label)
                        json: micro_precision, micro_recall, micro_f1 (the pairs of all items pooled)
                        perplexity: perplexity, num_tokens (learned ones)
                        preference: margin, longer_first (what the longer answer would have won), and for a reward model
                        calibration_error
                        all others: stop_rate (share of answers that ended by themselves), mean_answer_tokens,
                        longest_answer_tokens, mean_prompt_tokens, longest_prompt_tokens
    intervals         name → [low, high], for the scores in `summary`; null for an end that one item cannot give
    level             of the intervals, 0.95
    tables            label: "labels": [{label, count, answered, precision, recall, f1}]
                             "confusion": {rows: labels, columns: labels + "(unknown)", counts}; a row is a reference
                      json:  "fields": [{field, count, answered, right, wrong, missing, extra, accuracy, precision,
                             recall, f1}]
    seconds           what answering or scoring all items took
    num_items         number of lines that follow

and each further line is an item (preference: the better answer is `reference`, the other one `answer`):

    id, prompt, reference, answer (null for perplexity), scores {name: number; null where an item could not be scored}
    details           label: {"label": name or null}; json: {"fields": {name: right | wrong | missing | extra}};
                      regex: {"found": text or null}
    weight            learned tokens for perplexity, else 1
    prompt_tokens, answer_tokens, finish ("stop", "length" or null)
    seconds           from the start of the answer's batch to its end; null where nothing was generated
    group             what the row's `group` column says: items of one group are not independent; null: stands alone

A mean leaves out items without a score; how many there are is `missing` in the summary, if there are any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from etude import durable
from etude.errors import EtudeError

FORMAT = 1
NO_SHARES = ("reward", "margin")
"""Scores (and terms of them, `reward_…`) for which more is better, but which are no shares of anything."""


def is_share(metric: str, *, higher_is_better: bool) -> bool:
    """Whether a score runs from 0 to 1 and reads best in percent."""
    return higher_is_better and not metric.startswith(NO_SHARES)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One item: what was asked, what was answered, and the scores."""

    id: str
    """File and line of the item, relative to the task's data."""
    prompt: str
    reference: str | None
    answer: str | None
    """None where nothing was generated (perplexity)."""
    scores: Mapping[str, float]
    """NaN where an item could not be scored: a reward that failed."""
    details: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    """What the item counts in means: learned tokens for perplexity, else 1."""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    finish: str | None = None
    """`stop` (the model ended its answer), `length` (cut at max_new_tokens), or None."""
    seconds: float | None = None
    """From the start of the answer's batch to the answer's end."""
    group: str | None = None
    """Items of one group are not independent of each other: turns of a chat, questions on one text."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: a score that is missing is null."""
        return {**asdict(self), "scores": _nulls(self.scores)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ItemResult:
        return cls(**{**values, "scores": _nans(values["scores"])})


@dataclass(frozen=True)
class Report:
    """How one model did on one task; the file's layout is the module's docstring."""

    task: str
    metric: str
    """The primary score."""
    subject: str
    model_hash: str
    items: tuple[ItemResult, ...]
    summary: Mapping[str, float]
    data_sha256: str
    higher_is_better: bool = True
    template_sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    level: float = 0.95
    tables: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    """What answering all items took."""

    @property
    def score(self) -> float:
        """The primary score over all items."""
        return self.summary[self.metric]

    def save(self, path: str | Path) -> None:
        """Write the report's file; the folder is made."""
        header = {
            item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("items", "intervals")
        }  # fmt: skip
        header["summary"] = _nulls(self.summary)
        header["intervals"] = {name: [_finite(end) for end in ends] for name, ends in self.intervals.items()}
        items = [item.as_dict() for item in self.items]
        lines = [{"report": {"format": FORMAT, **header, "num_items": len(items)}}, *items]
        text = "".join(_json_line(line) + "\n" for line in lines)
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(file, text)

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report's file. Raises EtudeError when it is missing, damaged, cut or of another format."""
        file = Path(path)
        try:
            lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except FileNotFoundError:
            raise EtudeError(
                "no such report", where=str(file), remedy="`etude evaluate … --save FILE` writes one"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise EtudeError(f"cannot be read: {error}", where=str(file)) from error
        try:
            header = dict(json.loads(lines[0])["report"])
            items = tuple(ItemResult.from_dict(json.loads(line)) for line in lines[1:])
            return cls._from_header(header, items)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise EtudeError(f"is not a whole report ({error})", where=str(file), remedy="evaluate again") from error

    @classmethod
    def _from_header(cls, header: dict[str, Any], items: tuple[ItemResult, ...]) -> Report:
        if header.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        expected = header.pop("num_items")
        if expected != len(items):
            raise ValueError(f"{len(items)} of {expected} items are there")
        header["summary"] = _nans(header["summary"])
        header["intervals"] = {name: _ends(pair) for name, pair in header["intervals"].items()}
        return cls(**header, items=items)


def _json_line(value: Any) -> str:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    lone_surrogate = any("\ud800" <= letter <= "\udfff" for letter in line)
    return json.dumps(value, allow_nan=False) if lone_surrogate else line


def _nulls(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(score) else score for name, score in scores.items()}


def _nans(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if score is None else score for name, score in scores.items()}


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _ends(pair: list[float | None]) -> tuple[float, float]:
    low, high = pair
    return (-math.inf if low is None else low, math.inf if high is None else high)
