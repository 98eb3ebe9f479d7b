"""The best of several models against the best of several others, where both were chosen on the items that judge them.

The best of several looks better than it is, and the more of them there are the more so. An interval that holds whatever
was chosen mends that: for the gain of the chosen tuned model over the best of the others, whichever that is, the lowest
of its intervals against each of them, at a share of the error for each tuned model that could have been chosen; for the
other end the same with the sides exchanged. These are multiple comparisons with the best (Hsu 1984,
https://doi.org/10.1214/aos/1176346732) with Bonferroni's shares, so they hold however much the models have in common.
Being better than *all* of the other side costs no share: all of those tests must agree (Berger 1982,
https://doi.org/10.1080/00401706.1982.10487790). With one model a side it is the ordinary comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etude.comparison.judgement import Evidence, bounds


@dataclass(frozen=True)
class BestOfEach:
    """Evidence on two chosen models that holds for the best of either side."""

    tuned_against: Sequence[Evidence]
    """The chosen tuned model against each of the other side, the chosen one of that side first."""
    against_base: Sequence[Evidence]
    """Each tuned model against the chosen one of the other side, the chosen tuned one first."""
    tuned_choices: int
    """Tuned models that could have been chosen, the chosen one among them."""
    base_choices: int

    @property
    def chosen(self) -> Evidence:
        """The one chosen model against the other."""
        return self.tuned_against[0]

    @property
    def method(self) -> str:
        if self.tuned_choices == self.base_choices == 1:
            return self.chosen.method
        return f"{self.chosen.method}, the best of {self.tuned_choices} against the best of {self.base_choices}"

    @property
    def difference(self) -> float:
        return self.chosen.difference

    @property
    def details(self) -> Mapping[str, int]:
        return self.chosen.details

    @property
    def p_value(self) -> float:
        """The largest of the tests that must agree, times the models that could have been chosen."""
        up = max(one.p_value if one.difference > 0 else 1.0 for one in self.tuned_against)
        down = max(one.p_value if one.difference < 0 else 1.0 for one in self.against_base)
        return min(1.0, self.tuned_choices * up, self.base_choices * down)

    def interval(self, level: float) -> tuple[float, float]:
        """For the best tuned model's gain over the best of the other side."""
        alpha = 1 - level
        low = min(bounds(one, alpha / self.tuned_choices)[0] for one in self.tuned_against)
        return low, max(bounds(one, alpha / self.base_choices)[1] for one in self.against_base)

    def detectable(self, level: float) -> float | None:
        """Against one model of the other side; several that are as good ask for a little more."""
        return self.chosen.detectable(1 - (1 - level) / self.tuned_choices)

    def rows_for(self, gain: float, level: float) -> float | None:
        """At the smaller of the two shares."""
        return self.chosen.rows_for(gain, 1 - (1 - level) / max(self.tuned_choices, self.base_choices))
