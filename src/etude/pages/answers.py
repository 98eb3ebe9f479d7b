"""Which answers to show side by side: some of every kind, spread evenly over the task, never picked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from etude.evaluation.report import ItemResult, Report, is_share
from etude.pages.wording import clipped

Item = TypeVar("Item")
Change = Literal[
    "fixed by training", "broken by training", "wrong both times", "right both times", "better after training",
    "worse after training", "as good as before",
]  # fmt: skip
"""The last three are said of scores that no answer can have in full, such as rewards."""

SHOWN: dict[Change, int] = {
    "fixed by training": 3,
    "broken by training": 2,
    "wrong both times": 2,
    "right both times": 1,
    "better after training": 3,
    "worse after training": 2,
    "as good as before": 1,
}
LONGEST_PROMPT = 1200
LONGEST_ANSWER = 900


@dataclass(frozen=True)
class ShownText:
    """A text as far as the page shows it."""

    text: str
    left_out: int
    """Characters that were cut for the page."""

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True)
class Mark:
    """A score beside an answer."""

    text: str
    tone: Literal["right", "wrong", "plain"]


@dataclass(frozen=True)
class ShownAnswer:
    """One item before and after."""

    id: str
    change: Change
    prompt: ShownText
    reference: ShownText | None
    base: ShownText
    tuned: ShownText
    base_mark: Mark
    tuned_mark: Mark
    base_fault: str
    tuned_fault: str
    """What is wrong with the answer, where the metric knows: `urgency wrong; order missing`."""


@dataclass(frozen=True)
class Group:
    """Items that changed in one way."""

    change: Change
    count: int
    share: float
    shown: tuple[ShownAnswer, ...]


def groups(base: Report, tuned: Report) -> tuple[Group, ...]:
    """The items of both reports by how training changed them; empty where nothing was generated."""
    before = {item.id: item for item in base.items if item.answer is not None}
    pairs = [(before[item.id], item) for item in tuned.items if item.id in before and item.answer is not None]
    has_full = is_share(tuned.metric, higher_is_better=tuned.higher_is_better)
    by_change: dict[Change, list[tuple[ItemResult, ItemResult]]] = {change: [] for change in SHOWN}
    for earlier, later in pairs:
        change = _change(earlier.scores[base.metric], later.scores[tuned.metric], has_full=has_full)
        by_change[change].append((earlier, later))
    return tuple(
        Group(
            change,
            len(found),
            len(found) / len(pairs),
            tuple(_shown(*pair, change, tuned.metric, has_full=has_full) for pair in evenly(found, SHOWN[change])),
        )
        for change, found in by_change.items()
        if found
    )


def _change(before: float, after: float, *, has_full: bool) -> Change:
    """Scores between 0 and 1 (ROUGE-L) count as fixed or broken by their direction, as right from 1 on."""
    if not has_full:
        if after == before:
            return "as good as before"
        return "better after training" if after > before else "worse after training"
    if after > before:
        return "fixed by training"
    if after < before:
        return "broken by training"
    return "right both times" if after >= 1 else "wrong both times"


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """So many items, the first one and others at equal distances."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def mark_of(score: float, *, has_full: bool) -> Mark:
    """Right, wrong or a number between them."""
    if not has_full:
        return Mark(f"{score:.2f}", "plain")
    if score >= 1:
        return Mark("✓ right", "right")
    return Mark("✗ wrong" if score <= 0 else f"{score:.2f}", "wrong")


def _shown(before: ItemResult, after: ItemResult, change: Change, metric: str, *, has_full: bool) -> ShownAnswer:
    return ShownAnswer(
        id=after.id,
        change=change,
        prompt=shown_text(after.prompt, LONGEST_PROMPT),
        reference=None if after.reference is None else shown_text(after.reference, LONGEST_ANSWER),
        base=shown_text(before.answer or "", LONGEST_ANSWER),
        tuned=shown_text(after.answer or "", LONGEST_ANSWER),
        base_mark=mark_of(before.scores[metric], has_full=has_full),
        tuned_mark=mark_of(after.scores[metric], has_full=has_full),
        base_fault=_fault(before),
        tuned_fault=_fault(after),
    )


def _fault(item: ItemResult) -> str:
    found = []
    if item.scores.get("valid_json") == 0:
        found.append("not valid JSON")
    elif isinstance(fates := item.details.get("fields"), Mapping):
        found = [f"{name} {fate}" for name, fate in fates.items() if fate != "right"]
    if item.finish == "length":
        found.append("cut at the longest answer allowed")
    return "; ".join(found)


def shown_text(text: str, most: int) -> ShownText:
    """The text, cut after so many characters."""
    kept, left_out = clipped(text, most)
    return ShownText(kept, left_out)
