"""New rows from given ones, whose answers are known to be right: the request changes, and the answer only with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from etude.data.augmentation.methods import BY_MODEL, Method

if TYPE_CHECKING:
    from etude.data.inputs import Row
    from etude.data.work import Ledger, Rows

FOR_MODELS = ("same_label", "embedder", "least_score", "judge_template")
"""Settings that count only where a model writes."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Each row, and after it the rows made from it, which name it and are never held out."""

    kind: Literal["augment"] = "augment"
    methods: tuple[Method, ...] = ("noise", "paraphrase", "swap")
    """How rows are made, one after the other: typing mistakes, rules of paraphrase, swapped slot values, a model."""
    copies: int = 1
    """Rows made from each row."""
    balance: bool = False
    """Make rows of rarer answers only, up to `copies` from a row, until they are as frequent as the commonest."""
    strength: float = 0.1
    """Share of a request's longer words that `noise` mistypes."""
    language: str = "English"
    """The rows' own, into which `back-translation` translates back."""
    through: str = "French"
    """The language through which it goes."""
    same_label: bool = True
    """Where answers are labels: drop a model's wording that a classifier fitted on the given rows is sure to give
    another label."""
    embedder: str | None = None
    """An embedding model (a folder or hub id) whose vectors that classifier sees in the place of words."""
    least_score: int | None = None
    """What a judge must give a model's wording, from 1 to 5; 4 where nothing is said."""
    judge_template: str | None = None
    """File with a judge's prompt of your own; {prompt}, {wording} and {completion} stand where they belong."""
    seed: int = 0
    """What the choices are drawn from."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        found = []
        if not self.methods:
            found.append(("methods", "none is named"))
        if self.copies < 1:
            found.append(("copies", f"must be at least 1, got {self.copies}"))
        if not 0 < self.strength <= 1:
            found.append(("strength", f"must be above 0 and at most 1, got {self.strength:g}"))
        if self.language.strip().casefold() == self.through.strip().casefold():
            found.append(("through", f"is the rows' own language, {self.language}"))
        if self.least_score is not None and not 1 <= self.least_score <= 5:
            found.append(("least_score", f"must be from 1 to 5, got {self.least_score}"))
        if self.embedder is not None and not self.same_label:
            found.append(("embedder", "is asked only while labels are compared (same_label)"))
        changed = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        if not self.uses_model:
            says = f"counts only where a model writes (methods {', '.join(BY_MODEL)})"
            found += [(name, says) for name in FOR_MODELS if name in changed]
        return found

    @property
    def uses_model(self) -> bool:
        """Whether some rows are a model's work."""
        return bool({*self.methods} & {*BY_MODEL})

    def apply(self, rows: Rows, ledger: Ledger) -> Iterator[Row]:
        """The given rows and those made from them."""
        from etude.data.augmentation.making import augmented

        return augmented(rows, ledger, self)
