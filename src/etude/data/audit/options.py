"""What an audit looks for and how closely."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How an audit looks at rows; the defaults suit most data sets."""

    max_tokens: int = 1024
    """The context limit: rows beyond it are named, with what would be cut. A run file's `data.max_tokens`."""
    sample_rows: int = 20_000
    """Label noise, topics, languages and names are looked for in at most so many rows, drawn evenly; of a larger data
    set the report says so. Everything else is looked for in all rows."""
    near: float = 0.8
    """How alike near copies are: Jaccard index of their sets of 5 characters in a row, as in `etude data clean`."""
    rare_rows: int = 10
    """A label with fewer rows is rare: a model can hardly learn it, and a test can hardly measure it."""
    clusters: int = 0
    """How many topics to divide the inputs into; 0: by the number of rows."""
    groups: tuple[str, ...] = ()
    """Columns that say which group a row belongs to (gender, region, …), for the bias table. None: columns of such
    names are looked for, and words for women and men in the inputs."""
    false_alarms: float = 0.05
    """Share of false ones among the differences between groups, or between training and production rows, that are
    reported (Benjamini and Hochberg)."""
    seed: int = 0
    """Of everything that is drawn at random: the sample, the folds, the first cluster centres."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it)."""
        lowest = {"max_tokens": 8, "sample_rows": 100, "rare_rows": 1, "clusters": 0, "seed": 0}
        values = {name: getattr(self, name) for name in lowest}
        found = [
            (name, f"must be at least {low}, found {values[name]}")
            for name, low in lowest.items()
            if values[name] < low
        ]
        if not 0.3 <= self.near < 1:
            found.append(("near", f"must be from 0.3 up to but below 1, found {self.near:g}"))
        if not 0 < self.false_alarms < 1:
            found.append(("false_alarms", f"must be between 0 and 1, found {self.false_alarms}"))
        return found
