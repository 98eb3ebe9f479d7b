"""A pattern found in the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from etude.evaluation.metrics.base import Metric, Scored
from etude.evaluation.metrics.words import normalize


@dataclass(frozen=True, kw_only=True)
class Regex(Metric):
    """Without a group: 1 if the pattern is found in the answer. With one: 1 if the group's last find is the reference.

    The group's text is compared after `normalize`. The pattern is tried on the reference as well, so that references
    such as GSM8K's, whose result stands behind `####`, can stay as they are.
    """

    pattern: str | None = None
    """Found in the answer is right; with a group, the group's text must equal the reference."""

    primary: ClassVar[str] = "regex"

    def problems(self) -> list[tuple[str, str]]:
        if not self.pattern:
            return [("pattern", "missing; the metric 'regex' needs one")]
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            return [("pattern", f"is not a regular expression: {error}")]
        return [("pattern", f"has {groups} groups; use one, and (?:…) for the others")] if groups > 1 else []

    @property
    def needs_reference(self) -> bool:
        return re.compile(self.pattern or "").groups > 0

    def score(self, answer: str, reference: str) -> Scored:
        compiled = re.compile(self.pattern or "")
        found = [match.group(compiled.groups) for match in compiled.finditer(answer)]
        if not compiled.groups:
            return Scored({self.primary: float(bool(found))})
        wanted = [match.group(1) for match in compiled.finditer(reference)]
        target = wanted[-1] if wanted else reference
        right = bool(found) and normalize(found[-1] or "") == normalize(target or "")
        return Scored({self.primary: float(right)}, {"found": found[-1] if found else None})
