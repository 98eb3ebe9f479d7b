"""One term of a reward as the run file says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "regex", "json", "length", "model", "python"]


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """A term: what it looks at, how much it counts, and the bounds within which it may move the whole."""

    kind: Kind
    """`exact`: 1 where the answer is the reference; `regex`: 1 where the pattern is found (its group must then be the
    reference's); `json`: valid, right names, right fields, a third each; `length`: −1 at `most_tokens`, 0 up to three
    quarters of it; `model`: a reward model's number; `python`: a function of your own."""
    weight: float = 1.0
    """Factor on the term."""
    lowest: float | None = None
    """Bound of the term before the factor."""
    highest: float | None = None
    """Bound of the term before the factor."""
    pattern: str | None = None
    """regex."""
    fields: tuple[str, ...] = ()
    """json: only these fields count, `a.b` inside objects."""
    most_tokens: int | None = None
    """length."""
    run: str | None = None
    """model: the folder of a run with `objective.kind: reward`."""
    function: str | None = None
    """python: `file.py:name`, called as name(prompt, answer, reference) in a process of its own."""
    seconds: float = 5.0
    """python: longest time for one answer."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        needed = {"regex": "pattern", "model": "run", "python": "function", "length": "most_tokens"}.get(self.kind)
        found: list[tuple[str, str]] = []
        if needed and getattr(self, needed) is None:
            found.append((needed, f"missing; the reward {self.kind!r} needs it"))
        if self.lowest is not None and self.highest is not None and self.lowest > self.highest:
            found.append(("lowest", f"is above highest ({self.lowest:g} > {self.highest:g})"))
        if self.seconds <= 0:
            found.append(("seconds", f"must be above 0, got {self.seconds:g}"))
        if self.function is not None and not re.fullmatch(r".+\.py:\w+", self.function):
            found.append(("function", f"must be file.py:name, got {self.function!r}"))
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                found.append(("pattern", f"is not a regular expression: {error}"))
        return found
