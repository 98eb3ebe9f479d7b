"""Whether a new wording still gets its answer's label, by classifiers that never saw the row it was made from.

One that asks for something else is found to have another label; the row that it comes from is not.

Letters: N given rows, D features, K labels, M made rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etude.data.audit.example import Example, Sample, examples
from etude.data.audit.labels import Labels, outcomes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from etude.data.audit.classifier import CrossValidated, Fitted, Labelled
    from etude.data.audit.vectors import Embed
    from etude.data.inputs import Row
    from etude.data.synthesis.judging import Verdict
    from etude.records import Origin

MOST_ROWS = 20_000
"""Given rows that the classifiers learn from, drawn evenly."""
MOST_FEATURES = 100_000
"""Words and pieces of words that they see: their weights are held for every fold and label."""
MOST_LABELS = 300
MOST_OUTCOMES = 4
TIMES = 10
"""How many times as likely as the parent's label another one must be, and so many times more than it was in the parent.
On BANKING77 this drops nine in ten wordings of the label that is most like the parent's (bench/RESULTS.md)."""


@dataclass
class Learning:
    """Given rows on their way into the classifiers."""

    seed: int
    _labels: Labels = field(default_factory=lambda: Labels(rare_rows=0))
    _sample: Sample = field(init=False)

    def __post_init__(self) -> None:
        self._sample = Sample(MOST_ROWS, self.seed)

    def take(self, row: Row) -> None:
        """One more."""
        for one in examples(row):
            self._labels.take(one)
            self._sample.take(one)

    def finish(self, embed: Embed | None) -> SameLabel:
        """What checks new wordings: of every outcome that is a label and can be told from the requests."""
        from etude.data.audit.classifier import labelled
        from etude.data.audit.vectors import learned

        sample = self._sample.finish()
        tables = [table for table in self._labels.finish() if len(table.counts) <= MOST_LABELS][:MOST_OUTCOMES]
        rows = [(table.name, labelled([dict(outcomes(one)).get(table.name) for one in sample])) for table in tables]
        known = [(name, found) for name, found in rows if found is not None]
        if not known:
            return SameLabel((), (), None)
        asked = [one.question for one in sample]
        if embed is not None:
            vectors, into = embed(asked), embed
        else:
            words, vectors = learned(asked, most=MOST_FEATURES)
            into = words.vectors
        made = [_outcome(name, found, sample, vectors, self.seed) for name, found in known]
        clear = tuple(one for one in made if one.checked.is_conclusive)
        return SameLabel(clear, tuple(one.name for one in made if not one.checked.is_conclusive), into)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """One label of the answers, and the classifiers of it."""

    name: str
    rows: Labelled
    places: Mapping[Origin, int]
    """Which of the N rows stands where."""
    fold_N: NDArray[np.intp]
    fitted: tuple[Fitted, ...]
    checked: CrossValidated

    def other(self, parent: Origin, label: str, vector_1D: Any) -> dict[str, object] | None:
        """What contradicts the label; None where nothing does."""
        import numpy as np

        if label not in self.rows.names:
            return None
        given, place = self.rows.names.index(label), self.places.get(parent)
        fitted = self.fitted[0 if place is None else int(self.fold_N[place])]
        scores_K = fitted.scores(vector_1D)[0] * self.checked.sharpness
        found = int(scores_K.argmax())
        known = self.checked.scores_NK
        before = 0.0 if place is None else float(known[place, found] - known[place, given])
        now = float(scores_K[found] - scores_K[given])
        if now - max(before, 0.0) < np.log(TIMES):
            return None
        return {
            "outcome": self.name,
            "label": label,
            "found": self.rows.names[found],
            "log_odds": round(now, 2),
            "log_odds_of_parent": round(before, 2),
        }


def _outcome(name: str, rows: Labelled, sample: Sequence[Example], vectors: Any, seed: int) -> _Outcome:
    from etude.data.audit.classifier import cross_validated, fits, folds

    fold = folds(rows.given_N, seed=seed)
    seen = vectors[rows.rows_N]
    fitted = tuple(fits(seen, rows.given_N, fold, len(rows.names)))
    checked = cross_validated(seen, rows.given_N, fold, fitted)
    places = {sample[at].origin: place for place, at in enumerate(rows.rows_N)}
    return _Outcome(name, rows, places, fold, fitted, checked)


@dataclass(frozen=True, eq=False)
class SameLabel:
    """Checks new wordings against the labels of their answers."""

    outcomes: tuple[_Outcome, ...]
    unclear: tuple[str, ...]
    """Labels that the classifiers cannot tell from the requests."""
    into: Callable[[Sequence[str]], Any] | None
    """Texts as vectors [M, D]."""

    def verdicts(self, made: Sequence[tuple[Origin, Row]]) -> list[Verdict | None]:
        """For each made row, with where its parent stands, why it goes; None: nothing speaks against it."""
        if self.into is None or not self.outcomes or not made:
            return [None] * len(made)
        found = [next(examples(row)) for _, row in made]
        vectors_MD = self.into([one.question for one in found])
        return [
            self._verdict(parent, one, vectors_MD[at : at + 1])
            for at, ((parent, _), one) in enumerate(zip(made, found, strict=True))
        ]

    def _verdict(self, parent: Origin, one: Example, vector_1D: Any) -> Verdict | None:
        said = dict(outcomes(one))
        for outcome in self.outcomes:
            facts = outcome.other(parent, said.get(outcome.name, ""), vector_1D)
            if facts is not None:
                return "another label", facts
        return None

    def noted(self) -> dict[str, object]:
        """For a manifest: by what wordings were checked, how often the classifiers are right, and by what not."""
        checked = {
            one.name: {"labels": len(one.rows.names), "rows": len(one.rows.given_N), "accuracy": one.checked.accuracy}
            for one in self.outcomes
        }
        return {"checked": checked, "unclear": list(self.unclear)}
