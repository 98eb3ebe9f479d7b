"""Whether a model's new wording asks for the same thing as the row that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etude.data.synthesis import templates
from etude.data.synthesis.judging import ENOUGH, Verdict, judged
from etude.endpoints.exchange import Ask

if TYPE_CHECKING:
    from etude.data.augment import Augment
    from etude.data.augmentation.same_label import SameLabel
    from etude.data.inputs import Row
    from etude.data.synthesis.asking import Asked
    from etude.data.work import Ledger
    from etude.records import Origin


@dataclass(frozen=True)
class Reworded:
    """A row made by a model, and what it was made from."""

    parent: Origin
    row: Row
    request: str
    wording: str
    answer: str


@dataclass(frozen=True)
class Checks:
    """What every new wording has to pass."""

    options: Augment
    asked: Asked
    same_label: SameLabel | None
    template: str

    def verdicts(self, made: Sequence[Reworded]) -> list[tuple[Verdict | None, dict[str, Any]]]:
        """For each why it goes (None: it stays), and what its row should say; the judge sees only what is left."""
        found: list[tuple[Verdict | None, dict[str, Any]]] = [(None, {}) for _ in made]
        if self.same_label is not None:
            found = [(one, {}) for one in self.same_label.verdicts([(one.parent, one.row) for one in made])]
        judge = self.asked.judge
        left = [place for place, (verdict, _) in enumerate(found) if verdict is None]
        if judge is None or not left:
            return found
        enough = ENOUGH if self.options.least_score is None else self.options.least_score
        asks = [self._ask(made[place]) for place in left]
        for place, reply in zip(left, self.asked.answers(judge, asks), strict=True):
            found[place] = judged(reply, enough=enough, judge=judge.name)
        return found

    def _ask(self, one: Reworded) -> Ask:
        texts = {"prompt": one.request, "wording": one.wording, "completion": one.answer}
        return Ask((("user", templates.filled(self.template, texts)),))

    def note(self, ledger: Ledger) -> None:
        """How meaning was checked, for the manifest; what was not checked or not made, for whoever asked."""
        labels, judge = self.same_label, self.asked.judge
        ledger.notes["augmentation"] = {
            **self.asked.said(),
            "same_label": None if labels is None else labels.noted(),
            "judge_template": None if judge is None else self.template,
        }
        if judge is None and (labels is None or not labels.outcomes):
            ledger.says.append(
                "whether new wordings ask for the same thing was not checked: no judge was named (--judge), "
                f"and {self._why_no_label()}"
            )
        if self.asked.ended:
            ledger.says.append(f"{self.asked.ended}; the same command with a larger budget goes on")

    def _why_no_label(self) -> str:
        if self.same_label is None:
            return "labels were not to be compared (same_label)"
        if self.same_label.unclear:
            return f"requests hardly tell the answers' {', '.join(self.same_label.unclear)} apart"
        return "answers are no labels, or too few"


def checks(options: Augment, asked: Asked, same_label: SameLabel | None) -> Checks:
    """The checks that the settings name. ConfigError: the judge's template cannot be used."""
    template = templates.SAME_REQUEST
    if options.judge_template is not None:
        needs = ("prompt", "wording", "completion")
        template = templates.read_template(options.judge_template, needs=needs, setting="--judge-template")
    return Checks(options, asked, same_label, template)
