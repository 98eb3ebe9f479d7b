"""Reports of imagined models, scored by the real metrics."""

from __future__ import annotations

from collections.abc import Sequence

from etude.evaluation.answers import score_intervals
from etude.evaluation.metrics.base import Answered, Metric
from etude.evaluation.metrics.json_fields import JsonFields
from etude.evaluation.metrics.label import Label
from etude.evaluation.report import ItemResult, Report

LABELS = ("refund", "card", "transfer", "password")
SUBJECTS = ("money back order", "card arrive mail", "send abroad account", "forgot login code")


def report_of(
    metric: Metric,
    said: Sequence[tuple[str, str, str]],
    *,
    name: str = "label",
    finish: str = "stop",
    groups: Sequence[str | None] | None = None,
) -> Report:
    """The report on (prompt, reference, answer) items."""
    references = [reference for _, reference, _ in said]
    fitted = metric.fitted(references)
    scored = fitted.scores([Answered(prompt, answer, reference) for prompt, reference, answer in said])
    own = groups or [None] * len(said)
    items = tuple(
        ItemResult(
            f"rows.jsonl:{place + 1}", prompt, reference, answer, one.scores, one.details, finish=finish, group=g
        )
        for place, ((prompt, reference, answer), one, g) in enumerate(zip(said, scored, own, strict=True))
    )
    summary = fitted.summarize(scored, references)
    return Report(
        "toy", metric.primary, "imagined", "hash", items, summary.scores, "sha", settings={"metric": name},
        intervals=score_intervals(scored, summary, own),
    )  # fmt: skip


def label_report(*, weak: str = "transfer", each: int = 20, kept: int = 4) -> Report:
    """Four labels; of the weak one only `kept` items are right, the others answered as `card`."""
    said = []
    for number in range(each):
        for label, subject in zip(LABELS, SUBJECTS, strict=True):
            wrong = label == weak and number >= kept
            said.append((f"Which is it?\n{subject} number {number}", label, "card" if wrong else label))
    return report_of(Label(), said)


def json_report(answers: Sequence[tuple[str, str]], *, finish: str = "stop") -> Report:
    """(reference, answer) items of a JSON task."""
    said = [(f"ticket {place}", reference, answer) for place, (reference, answer) in enumerate(answers)]
    return report_of(JsonFields(), said, name="json", finish=finish)
