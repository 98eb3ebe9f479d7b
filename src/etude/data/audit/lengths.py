"""How long rows are in tokens of the chosen model, and what the context limit would cut."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Spotted
from etude.data.audit.remedies import Remedies
from etude.errors import DataError
from etude.records import Origin, Prompt, Text

if TYPE_CHECKING:
    from etude.data.plan import Plan
    from etude.data.render import Renderer

ROWS_AT_ONCE = 1_000
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Spread:
    """How numbers are distributed."""

    quantiles: tuple[int, ...]
    """At QUANTILES."""
    mean: float
    edges: tuple[float, ...]
    """Of a histogram's bins, one more than `counts`; logarithmic."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class LengthTable:
    """Lengths in tokens."""

    model: str
    max_tokens: int
    total: Spread
    learned: Spread
    num_tokens: int
    num_learned: int
    over: int
    """Rows longer than `max_tokens`."""
    needed: int
    """The limit under which none would be."""


@dataclass
class Lengths:
    """Renders rows as training will, a thousand at a time, and keeps their lengths."""

    renderer: Renderer
    model: str
    max_tokens: int
    _held: list[Example] = field(default_factory=list)
    _total: array[int] = field(default_factory=lambda: array("i"))
    _learned: array[int] = field(default_factory=lambda: array("i"))
    _over: Spotted = field(default_factory=Spotted)
    _cut_texts: Spotted = field(default_factory=Spotted)
    _answer_over: Spotted = field(default_factory=Spotted)
    _nothing: Spotted = field(default_factory=Spotted)
    _refused: Spotted = field(default_factory=Spotted)
    _control: Spotted = field(default_factory=Spotted)

    def take(self, one: Example) -> None:
        """One more row."""
        self._held.append(one)
        if len(self._held) == ROWS_AT_ONCE:
            self._measure()

    def _measure(self) -> None:
        found = self.renderer.plan_all([one.record for one in self._held])
        plans: list[Plan] = []
        owners: list[Example] = []
        for one, made in zip(self._held, found, strict=True):
            if isinstance(made, DataError):
                self._refused.add(one.origin, str(made))
                continue
            plans += made
            owners += [one] * len(made)
        spelt, _ = self.renderer.odd(plans)
        for at in dict.fromkeys(spelt):
            self._control.add(owners[at].origin, owners[at].question)
        longest: dict[Origin, tuple[Example, int, int]] = {}
        for one, row in zip(owners, self.renderer.encoded(plans), strict=True):
            learned = sum(stop - start for start, stop, weight in row.spans if weight > 0)
            before = longest.get(one.origin)
            if before is None or before[1] < len(row.tokens):
                longest[one.origin] = one, len(row.tokens), learned
        for one, total, learned in longest.values():
            self._count(one, total, learned)
        self._held.clear()

    def _count(self, one: Example, total: int, learned: int) -> None:
        self._total.append(total)
        self._learned.append(learned)
        if not learned and not isinstance(one.record, Prompt):
            self._nothing.add(one.origin, one.question)
        if total <= self.max_tokens:
            return
        says = f"{total:,} tokens, {learned:,} of them learned"
        if isinstance(one.record, Text):
            self._cut_texts.add(one.origin, says)
        elif learned >= self.max_tokens:
            self._answer_over.add(one.origin, says)
        else:
            self._over.add(one.origin, says)

    def finish(self) -> LengthTable | None:
        """The distributions; None if no row could be rendered."""
        if self._held:
            self._measure()
        if not self._total:
            return None
        total, over = spread(self._total), self._over.count + self._answer_over.count + self._cut_texts.count
        return LengthTable(
            model=self.model, max_tokens=self.max_tokens, total=total, learned=spread(self._learned),
            num_tokens=sum(self._total), num_learned=sum(self._learned), over=over,
            needed=_round_up(total.quantiles[-1]),
        )  # fmt: skip

    def findings(self, remedies: Remedies) -> list[Finding]:
        """What was seen."""
        longest = max(self._total, default=0)
        longer = remedies.set(f"data.max_tokens={_round_up(longest)}")
        limit = f"{self.max_tokens:,} tokens"
        return [
            *self._answer_over.finding(
                "answers-over-limit", "error", f"{{rows}} have an answer that alone is longer than {limit}",
                advice="Etude never cuts an answer: these rows are left out. Raise the limit, or split them.",
                command=longer,
            ),
            *self._over.finding(
                "over-limit", "warning", f"{{rows}} are longer than {limit}",
                advice="They are left out, or their prompts cut from the left with `over_length: truncate-prompt`.",
                command=longer,
            ),
            *self._cut_texts.finding(
                "texts-in-windows", "note", f"{{rows}} are longer than {limit} and will be learned in windows",
                advice="Every token is learned once; what a window begins with has less context.", command=longer,
            ),
            *self._nothing.finding(
                "nothing-to-learn", "error", "{rows} have nothing to learn",
                advice="Every answer in them has weight 0.",
                command=remedies.drop("nothing-to-learn"),
            ),
            *self._refused.finding(
                "template-refuses", "error", "The chat template cannot write {rows}",
                advice="Its roles or their order do not fit this model; training leaves such rows out.",
                command=remedies.drop("template-refuses"),
            ),
            *self._control.finding(
                "control-text", "note", "{rows} spell one of the model's control tokens",
                advice="Etude reads it as plain text, so no turn can be closed by it; other tools may not.",
            ),
        ]  # fmt: skip


def spread(values: Sequence[int], *, bins: int = 40) -> Spread:
    """The distribution of whole numbers, with a histogram on a logarithmic axis."""
    import numpy as np

    held = np.asarray(values)
    low, high = max(1, int(held.min())), max(2, int(held.max()) + 1)
    edges = [0] if int(held.min()) < 1 else []
    edge, width, growth = low, 1, (high / low) ** (1 / bins)
    while edge < high:
        edges.append(edge)
        width = max(width, round(edge * (growth - 1)))  # bins never narrow again, or equal counts would look unequal
        edge += width
    edges.append(edge)
    counts, _ = np.histogram(held, edges)
    quantiles = np.quantile(held, QUANTILES, method="inverted_cdf")
    return Spread(tuple(map(int, quantiles)), float(held.mean()), tuple(map(float, edges)), tuple(map(int, counts)))


def _round_up(tokens: int, step: int = 64) -> int:
    return -(-tokens // step) * step
