"""Label tasks: understanding answers, and figures equal to scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.evaluation.metrics.base import Summary
from etude.evaluation.metrics.label import UNKNOWN, Label, labels_of


def summary_of(metric: Label, answers: list[str], references: list[str]) -> Summary:
    scored = [metric.score(answer, reference) for answer, reference in zip(answers, references, strict=True)]
    return metric.summarize(scored, references)


def test_figures_by_hand() -> None:
    metric = Label(labels=("cat", "dog", "bird"))
    answers = ["Cat.", "cat", "DOG", "a dog", "dog"]
    references = ["cat", "cat", "cat", "dog", "dog"]
    found = summary_of(metric, answers, references)
    assert found.scores["accuracy"] == pytest.approx(3 / 5)
    assert found.scores["unknown"] == pytest.approx(1 / 5)
    # cat: precision 2/2, recall 2/3, F1 0.8; dog: precision 1/2, recall 1/2, F1 0.5; bird never occurs
    assert found.scores["macro_f1"] == pytest.approx((0.8 + 0.5) / 2)
    assert found.tables["confusion"] == {
        "rows": ["cat", "dog", "bird"],
        "columns": ["cat", "dog", "bird", UNKNOWN],
        "counts": [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]],
    }
    assert found.tables["labels"][1] == {
        "label": "dog", "count": 2, "answered": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5,
    }  # fmt: skip


def test_an_answer_is_a_label_or_unknown() -> None:
    metric = Label(labels=("card_arrival", "lost card"))
    assert metric.score("Card arrival", "lost card").details == {"label": "card_arrival"}
    assert metric.score("my card arrival", "card_arrival").details == {"label": None}
    assert metric.score("", "card_arrival").scores == {"accuracy": 0.0}


def test_labels_may_come_from_the_references() -> None:
    assert labels_of(["b", "a", "b", "A", "a."]) == ("A", "b")
    metric = Label(labels=labels_of(["Refund", "refund", "other"]))
    assert metric.score("REFUND", "refund").scores == {"accuracy": 1.0}
    assert metric.unusable(["Refund", "refund", "other"]) == []


def test_unusable_labels_and_references_are_all_named() -> None:
    found = Label(labels=("a-b", "a b", "?")).unusable(["a b", "c", "d"])
    assert [place for place, _ in found] == [None, None, 1, 2]
    assert "'a-b' and 'a b' are the same" in found[0][1]
    assert "empty once normalised" in found[1][1]


letters = st.sampled_from(["a", "b", "c", "d", "nothing known"])


@given(st.lists(st.tuples(letters, st.sampled_from(["a", "b", "c"])), min_size=1, max_size=60))
def test_macro_f1_precision_and_recall_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    answers, references = [answer for answer, _ in pairs], [reference for _, reference in pairs]
    found = summary_of(Label(labels=("a", "b", "c", "d")), answers, references)
    occurring = sorted(set(references))
    precision, recall, f1, count = precision_recall_fscore_support(
        references, answers, labels=occurring, zero_division=0.0
    )
    rows = [row for row in found.tables["labels"] if row["count"]]
    assert [row["precision"] for row in rows] == pytest.approx(list(precision))
    assert [row["recall"] for row in rows] == pytest.approx(list(recall))
    assert [row["count"] for row in rows] == list(count)
    assert found.scores["macro_f1"] == pytest.approx(f1.mean())


@given(st.lists(st.tuples(letters, st.sampled_from(["a", "b", "c"])), min_size=1, max_size=60))
def test_the_confusion_matrix_holds_every_item_once(pairs: list[tuple[str, str]]) -> None:
    answers, references = [answer for answer, _ in pairs], [reference for _, reference in pairs]
    found = summary_of(Label(labels=("a", "b", "c", "d")), answers, references)
    counts = found.tables["confusion"]["counts"]
    assert sum(map(sum, counts)) == len(pairs)
    assert sum(counts[place][place] for place in range(4)) == round(found.scores["accuracy"] * len(pairs))


def test_the_interval_of_macro_f1_covers_it() -> None:
    generator = np.random.default_rng(1)
    metric = Label(labels=("a", "b", "c"))
    # right with chance 0.7, else any other label: precision, recall and F1 of each label are 0.7 in the long run
    covered, trials = 0, 100
    for _ in range(trials):
        places = generator.integers(0, 3, size=150)
        wrong = (places + generator.integers(1, 3, size=150)) % 3
        answers = np.where(generator.random(150) < 0.7, places, wrong)
        names = np.array(["a", "b", "c"])
        low, high = summary_of(metric, list(names[answers]), list(names[places])).intervals["macro_f1"]
        covered += low <= 0.7 <= high
    assert covered / trials >= 0.9
    assert "macro_f1" not in summary_of(metric, ["a"], ["a"]).intervals
