"""Text metrics against hand-computed cases, properties, and the rouge_score package as an oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.evaluation.metrics import METRICS, metric_class, metric_name
from etude.evaluation.metrics.base import Answered, Metric
from etude.evaluation.metrics.exact_match import ExactMatch
from etude.evaluation.metrics.normalized_match import NormalizedMatch
from etude.evaluation.metrics.regex import Regex
from etude.evaluation.metrics.rouge_l import RougeL
from etude.evaluation.metrics.words import longest_common_subsequence, normalize, words


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Hello,\n WORLD! ", "hello world"),
        ("card_arrival", "card arrival"),
        ("Don't", "dont"),
        ("don’t", "dont"),
        ("ﬁne Ａ１", "fine a1"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("3.14", "3.14"),
        ("1,000.", "1,000"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("10-5", "10 5"),
        ("e.g.", "e g"),
        ("«oui»…", "oui"),
        ("cafe\u0301", "café"),
        ("?!", ""),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normalizing_twice_changes_nothing_more(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(st.text(st.characters(codec="ascii")))
def test_case_and_outer_space_do_not_matter(text: str) -> None:
    assert normalize(f"\t{text.upper()}  ") == normalize(text.lower())


def test_numbers_that_differ_stay_different() -> None:
    assert len({normalize(number) for number in ("15", "1.5", "-1.5", "-15", "1 5")}) == 5


def test_exact_match_minds_case_but_not_outer_space() -> None:
    metric = ExactMatch()
    assert metric.score(" Paris\n", "Paris").scores == {"exact_match": 1.0}
    assert metric.score("paris", "Paris").scores == {"exact_match": 0.0}
    assert metric.score("", "Paris").scores == {"exact_match": 0.0}


def test_normalized_match_refuses_references_of_which_nothing_is_left() -> None:
    metric = NormalizedMatch()
    assert metric.score("PARIS.", "Paris").scores == {"normalized_match": 1.0}
    assert [place for place, _ in metric.unusable(["a", "?", "b", ""])] == [1, 3]


def test_regex_without_a_group_is_found_or_not() -> None:
    metric = Regex(pattern=r"\bpar(?:is|ma)\b")
    assert metric.score("in paris.", "").scores == {"regex": 1.0}
    assert metric.score("comparison", "").scores == {"regex": 0.0}


@pytest.mark.parametrize(
    ("answer", "reference", "right", "found"),
    [
        ("so 3, then #### 42", "6 * 7 = 42\n#### 42", 1.0, "42"),
        ("#### 41 no, #### 42", "42", 1.0, "42"),
        ("#### 42 no, #### 41", "42", 0.0, "41"),
        ("42", "#### 42", 0.0, None),
        ("#### -7", "#### 7", 0.0, "-7"),
    ],
)
def test_regex_with_a_group_compares_its_last_find(
    answer: str, reference: str, right: float, found: str | None
) -> None:
    scored = Regex(pattern=r"#### (-?\d+)").score(answer, reference)
    assert scored.scores == {"regex": right}
    assert scored.details == {"found": found}


def test_regex_with_an_optional_group_that_took_no_part() -> None:
    assert Regex(pattern=r"a(b)?").score("a", "b").scores == {"regex": 0.0}


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("the cat", "the cat sat down", 2 * 2 / 6),
        ("police kill the gunman", "police killed the gunman", 2 * 3 / 8),
        ("gunman the kill police", "police killed the gunman", 2 * 1 / 8),
        ("", "the cat", 0.0),
        ("dog", "the cat", 0.0),
        ("日本語", "日本人", 2 * 2 / 6),
    ],
)
def test_rouge_l_by_hand(answer: str, reference: str, score: float) -> None:
    assert RougeL().score(answer, reference).scores["rouge_l"] == pytest.approx(score)


ascii_texts = st.text(st.characters(codec="ascii"), max_size=80) | st.lists(
    st.sampled_from(["the", "cat", "Sat", "on", "a", "mat,", "a-b", "x_y"]), max_size=40
).map(" ".join)


@given(ascii_texts, ascii_texts)
def test_rouge_l_equals_the_rouge_score_package(answer: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure
    assert RougeL().score(answer, reference).scores["rouge_l"] == pytest.approx(theirs, abs=1e-12)


@given(st.lists(st.sampled_from("abcd"), max_size=90), st.lists(st.sampled_from("abcd"), max_size=90))
def test_the_common_subsequence_equals_the_textbook_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, left in enumerate(first):
        for j, right in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(first, second) == table[-1][-1]


def test_words_split_scripts_without_spaces() -> None:
    assert words("Ünï-code, x_1 東京 ok") == ["ünï", "code", "x", "1", "東", "京", "ok"]
    assert [place for place, _ in RougeL().unusable(["a", "...", "b"])] == [1]


def test_every_name_leads_to_a_class_and_back() -> None:
    for name in METRICS:
        kind = metric_class(name)
        assert kind is not None
        assert metric_name(kind()) == name
    assert metric_class("exact") is None


def test_means_are_taken_over_items() -> None:
    metric: Metric = ExactMatch()
    scored = metric.scores([Answered("asked", "b", reference) for reference in "ab"])
    assert metric.summarize(scored, ["a", "b"]).scores == {"exact_match": 0.5}


@given(st.text(), st.text())
def test_every_text_metric_is_between_zero_and_one_and_one_on_itself(answer: str, reference: str) -> None:
    for metric in (ExactMatch(), NormalizedMatch(), RougeL()):
        assert 0 <= metric.score(answer, reference).scores[metric.primary] <= 1
        if not metric.unusable([reference]):
            assert metric.score(reference, reference).scores[metric.primary] == 1
