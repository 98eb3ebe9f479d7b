"""Searches find what a person would, and BM25 is BM25."""

from __future__ import annotations

import math

import numpy as np

from etude.data.retrieval import by_likeness, by_words

TEXTS = ("my card has not arrived", "refund my money please", "the dog jumps", "card refund refused", "card card card")


def bm25(question: str, text: str, k1: float = 1.5, b: float = 0.75) -> float:
    """The formula, with Lucene's idf (https://en.wikipedia.org/wiki/Okapi_BM25)."""
    held = [one.split() for one in TEXTS]
    mean = sum(map(len, held)) / len(held)
    words, score = text.split(), 0.0
    for word in question.split():
        having = sum(word in one for one in held)
        idf = math.log(1 + (len(held) - having + 0.5) / (having + 0.5))
        count = words.count(word)
        score += idf * count / (count + k1 * (1 - b + b * len(words) / mean))
    return score


def test_the_order_is_that_of_the_formula() -> None:
    for question in ("card arrived", "refund", "dog card"):
        [found] = by_words(TEXTS)([question], 3)
        best = sorted(range(len(TEXTS)), key=lambda at: -bm25(question, TEXTS[at]))[:3]
        scores = [bm25(question, TEXTS[at]) for at in found]
        assert np.allclose(scores, [bm25(question, TEXTS[at]) for at in best])


def test_likeness_finds_words_and_vectors_find_what_they_say() -> None:
    assert by_likeness(TEXTS, None)(["has the card arrived", "dog jumps"], 1) == [[0], [2]]

    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "card" in text or "plastic" in text else [0.0, 1.0] for text in texts])

    [found] = by_likeness(TEXTS, embed)(["where is my plastic"], 3)
    assert set(found) == {0, 3, 4}


def test_more_than_there_are_gives_all() -> None:
    assert sorted(by_words(TEXTS)(["card"], 50)[0]) == [0, 1, 2, 3, 4]
    assert by_words(TEXTS)([], 3) == []
