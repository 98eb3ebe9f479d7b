"""One term of a reward as the run file says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from etude.endpoints.options import EndpointOptions

Kind = Literal["exact", "regex", "json", "length", "model", "python", "code", "judge"]
OWN = {
    "pattern": ("regex",),
    "fields": ("json",),
    "most_tokens": ("length",),
    "run": ("model",),
    "function": ("python",),
    "seconds": ("python", "code"),
    "code": ("code",),
    "judge": ("judge",),
}
"""Settings that only some kinds have."""


@dataclass(frozen=True, kw_only=True)
class CodeOptions:
    """Code that the model wrote is run, which is never done unless it is asked for."""

    run_model_code: bool = False
    """Must be true: code that a model wrote then runs on this machine, confined as docs/preferences.md says."""
    memory_mb: int = 512
    """Most memory of one process."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        found: list[tuple[str, str]] = []
        if not self.run_model_code:
            found.append(("run_model_code", "must be true: this reward runs code that the model wrote"))
        if self.memory_mb < 64:
            found.append(("memory_mb", f"must be at least 64, got {self.memory_mb}"))
        return found


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who judges, by what, and how."""

    endpoint: EndpointOptions | None = None
    """A model behind an endpoint."""
    model: str | None = None
    """Or a model here: its name, an adapter's or a run's folder."""
    rubric: str = "Judge how helpful, correct and harmless it is."
    """What is looked at, in the judge's own prompt."""
    scale_lowest: float = 1.0
    """The worst score."""
    scale_highest: float = 10.0
    """The best score; rewards are from 0 (worst) to 1."""
    pairwise: bool = False
    """Compare with the row's own answer instead, in both orders: 1 where both say better, 0 where both say worse."""
    max_new_tokens: int = 256
    """model: longest reply."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        if (self.endpoint is None) == (self.model is None):
            found.append(("model", "needs one judge: a model or an endpoint"))
        if self.scale_lowest >= self.scale_highest:
            found.append(("scale_lowest", f"must be below scale_highest, got {self.scale_lowest:g}"))
        if self.max_new_tokens < 1:
            found.append(("max_new_tokens", f"must be at least 1, got {self.max_new_tokens}"))
        if self.endpoint is not None:
            found += [(f"endpoint.{setting}", says) for setting, says in self.endpoint.problems()]
        return found


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """A term: what it looks at, how much it counts, and the bounds within which it may move the whole."""

    kind: Kind
    """`exact`: 1 where the answer is the reference; `regex`: 1 where the pattern is found (its group must then be the
    reference's); `json`: valid, right names, right fields, a third each; `length`: −1 at `most_tokens`, 0 up to three
    quarters of it; `model`: a reward model's number; `python`: a function of your own; `code`: the share of the
    reference's tests that the answer's code passes; `judge`: what another language model thinks of it."""
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
    """python, code: longest time for one answer (code: for its statements, and for each program)."""
    code: CodeOptions | None = None
    """code."""
    judge: JudgeOptions | None = None
    """judge."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        needed = {"regex": "pattern", "model": "run", "python": "function", "length": "most_tokens"}
        needed |= {"code": "code", "judge": "judge"}
        found: list[tuple[str, str]] = []
        name = needed.get(self.kind)
        if name and getattr(self, name) is None:
            found.append((name, f"missing; the reward {self.kind!r} needs it"))
        defaults = {one.name: one.default for one in fields(self)}
        found += [
            (name, f"belongs to the reward {' or '.join(map(repr, kinds))}, not to {self.kind!r}; leave it out")
            for name, kinds in OWN.items()
            if self.kind not in kinds and getattr(self, name) != defaults[name]
        ]
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
        for name, inner in (("code", self.code), ("judge", self.judge)):
            found += [(f"{name}.{setting}", says) for setting, says in (inner.problems() if inner else ())]
        return found
