"""A planted weakness is found, named, and its training rows are the ones that would help."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etude.diagnosis.explaining import Training, explain, failures
from etude.diagnosis.explanation import Explanation, load_explanation
from etude.diagnosis.mistakes import mistakes_of
from etude.diagnosis.nearest import TrainingRow
from etude.diagnosis.options import ExplainOptions
from etude.errors import EtudeError, Problems
from etude.evaluation.report import ItemResult
from etude.records import Origin
from tests.diagnosis.reports import LABELS, SUBJECTS, json_report, label_report


def training(**counts: int) -> Training:
    """So many rows of each label."""
    rows = [
        TrainingRow(Origin("train.jsonl", 1 + place), f"{subject} row {number}", label)
        for place, (label, subject, number) in enumerate(
            (label, subject, number)
            for label, subject in zip(LABELS, SUBJECTS, strict=True)
            for number in range(counts.get(label, 20))
        )
    ]
    answers = Counter(row.answer for row in rows)
    return Training("train.jsonl", {"format": "auto", "columns": {}}, rows, len(rows), answers)


@pytest.fixture(scope="module")
def found() -> Explanation:
    return explain(label_report(), training=training(transfer=2), path="r.jsonl")


def test_the_weak_label_is_named_and_nothing_else(found: Explanation) -> None:
    assert [one.name for one in found.worse] == ["label=transfer"]
    worst = found.worse[0]
    assert (worst.items, worst.failed, worst.rest) == (20, 16, 1.0)
    assert worst.excess == 16
    assert worst.confusions == (("card", 16),)
    assert worst.difference_interval[0] > 0.5
    assert found.failed == 16
    assert found.mistakes == (("another label", 16),)


def test_what_would_help_is_said_with_numbers(found: Explanation) -> None:
    worst = found.worse[0]
    assert (worst.training_rows, worst.usual_rows) == (2, 20)
    assert "add about 18" in worst.suggestion
    assert "16 of 16 failures were answered 'card'" in worst.suggestion
    assert {one.answer for one in worst.nearest} == {"transfer"}
    assert worst.has_rows_of_its_label
    assert len(worst.seeds) == 2


def test_a_label_without_rows_has_the_nearest_of_others() -> None:
    worst = explain(label_report(), training=training(transfer=0)).worse[0]
    assert worst.training_rows == 0
    assert not worst.has_rows_of_its_label
    assert "no training row has this answer" in worst.suggestion.casefold()


def test_columns_of_the_rows_are_slices() -> None:
    report = label_report(kept=20)
    items = {item.id: {"country": "DE" if n % 3 else "FR", "text": item.prompt} for n, item in enumerate(report.items)}
    found = explain(report, columns=items)
    assert {one.name for one in found.slices} >= {"country=DE", "country=FR", "label=card"}
    assert not any(one.attribute == "text" for one in found.slices)
    assert not found.worse
    with pytest.raises(EtudeError, match="no column 'land'"):
        explain(report, columns=items, options=ExplainOptions(by=("land",)))


def test_failures_are_clustered_by_what_they_are_about(found: Explanation) -> None:
    [cluster] = found.clusters
    assert cluster.size == 16
    assert all("send abroad" in one.asked for one in cluster.failures)
    assert all(not one.asked.startswith("Which") for one in cluster.failures)  # what all begin with is not shown


def test_the_file_gives_the_same_explanation_back(found: Explanation, tmp_path: Path) -> None:
    path = tmp_path / "why.json"
    found.save(path)
    assert load_explanation(path) == found
    assert load_explanation(path).named("label=card").failed == 0
    with pytest.raises(EtudeError, match="no slice 'label=cart'"):
        found.named("label=cart")
    held = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**held, "items": "many"}), encoding="utf-8")
    with pytest.raises(EtudeError, match="not a whole explanation"):
        load_explanation(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(EtudeError, match="is no explanation"):
        load_explanation(path)


def test_an_embedding_model_takes_the_place_of_words() -> None:
    def embed(texts: list[str]) -> np.ndarray:
        made = np.zeros((len(texts), 4), dtype=np.float32)
        for place, text in enumerate(texts):
            made[place, next(n for n, subject in enumerate(SUBJECTS) if subject in text)] = 1
        return made

    found = explain(label_report(), training=training(transfer=0), embed=embed)
    worst = found.worse[0]
    assert worst.alike == 0  # no training row of that kind
    assert not any("--embedder" in note for note in found.notes)


def test_json_failures_are_named_by_field() -> None:
    right = '{"intent": "refund", "urgency": "high"}'
    wrong = '{"intent": "refund", "urgency": "low"}'
    answers = [(right, right)] * 12 + [(right, wrong)] * 5 + [(right, "Sure: " + right)] * 2 + [(right, "")]
    found = explain(json_report(answers))
    assert dict(found.mistakes) == {
        "field urgency wrong": 5,
        "not valid JSON: words around the object": 2,
        "empty answer": 1,
    }
    cut = explain(json_report([(right, right)] * 10 + [(right, '{"intent": "ref')], finish="length"))
    assert dict(cut.mistakes) == {"cut at the token limit": 1, "not valid JSON": 1}


def test_graded_scores_fail_by_quarter() -> None:
    failed, rule = failures([0.1, 0.2, 0.3, 0.4], higher_is_better=True)
    assert (failed, rule) == ([True, False, False, False], "the worst quarter: at most 0.1")
    failed, rule = failures([1.0, 2.0, 3.0, 4.0], higher_is_better=False)
    assert (failed, rule) == ([False, False, False, True], "the worst quarter: at least 4")


@pytest.mark.parametrize(
    ("metric", "item", "kinds"),
    [
        ("label", {"details": {"label": None}}, ("none of the labels",)),
        ("number", {"details": {"found": None}}, ("no number",)),
        ("spans", {"scores": {"valid_json": 1}, "details": {"spans": {"x": [1, 2, 3]}}}, ("x missed", "x invented")),
        ("refusal", {"scores": {"refused": 1.0}}, ("refuses a fair request",)),
        ("style", {"details": {"broken": ["short"]}}, ("breaks the rule short",)),
        ("exact_match", {"answer": "It is Paris."}, ("holds the reference, and more",)),
        ("rouge_l", {}, ("another answer",)),
        ("perplexity", {"answer": None}, ("low perplexity",)),
    ],
)  # fmt: skip
def test_kinds_of_mistake(metric: str, item: dict[str, object], kinds: tuple[str, ...]) -> None:
    held = {"answer": "something", "scores": {}, **item}
    made = ItemResult("a:1", "Where?", "Paris", **held)  # type: ignore[arg-type]
    assert mistakes_of(made, metric) == kinds


def test_options_and_too_few_items_are_refused() -> None:
    with pytest.raises(Problems, match="fewest: must be at least 2"):
        explain(label_report(), options=ExplainOptions(fewest=1))
    with pytest.raises(EtudeError, match="explain nothing"):
        explain(replace(label_report(), items=label_report().items[:3]))
