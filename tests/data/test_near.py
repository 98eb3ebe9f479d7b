"""Near copies: what MinHash bands find is what comparing all with all finds."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etude.data.near import WIDTH, TakenTexts, TextTaker
from etude.data.shingles import jaccard, permutations, shingles, signatures
from etude.data.sides import Sides

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def vocabulary(size: int) -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choices(ALPHABET, k=rng.randint(2, 9))) for _ in range(size)]


WORDS = vocabulary(3_000)


def taken(rows: list[Sides], threshold: float = 0.8) -> TakenTexts:
    taker = TextTaker(threshold)
    for said in rows:
        taker.take(said)
    return taker.finish()


def compared(texts: TakenTexts) -> list[tuple[int, int, float, float]]:
    """All pairs that were looked at: earlier, later, how alike their prompts and their answers are."""
    parts = list(texts.compared(np.arange(len(texts))))
    return [
        (*pair, *alike) for pairs, found in parts for pair, alike in zip(pairs.tolist(), found.tolist(), strict=True)
    ]


def set_of(text: str) -> set[str]:
    return {text[at : at + WIDTH] for at in range(max(1, len(text) - WIDTH + 1))}


@settings(max_examples=50)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_shingles_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    hashes, starts = shingles(texts, WIDTH)
    for text, part in zip(texts, np.split(hashes, starts[1:]), strict=True):
        alone, _ = shingles([text], WIDTH)
        assert np.array_equal(part, alone)
        padded = text + "\0" * (WIDTH - len(text))
        assert len(np.unique(part)) == len(set_of(padded))


def test_signatures_estimate_the_jaccard_index() -> None:
    rng = random.Random(0)
    for _ in range(5):
        words = rng.choices(WORDS, k=60)
        changed = [word if rng.random() > 0.15 else rng.choice(WORDS) for word in words]
        texts = [" ".join(words), " ".join(changed)]
        one, other = signatures(*shingles(texts, WIDTH), permutations(2_000))
        true = len(set_of(texts[0]) & set_of(texts[1])) / len(set_of(texts[0]) | set_of(texts[1]))
        assert abs(float((one == other).mean()) - true) < 0.05
        assert jaccard(*(np.unique(shingles([text], WIDTH)[0]) for text in texts)) == pytest.approx(true)


def test_numbers_stay_the_same_across_versions() -> None:
    """Published data sets can be made again only while these do not change."""
    found = signatures(*shingles(["Where is my card?", "Grüße, 世界"], WIDTH), permutations(3))
    assert found.tolist() == [[60185042, 92374624, 175719403], [1211437948, 67328734, 576404334]]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.6, 0.8, 0.9]))
@example(7943, 0.9)  # a pair at the threshold exactly
def test_candidates_are_all_pairs_above_the_threshold(seed: int, threshold: float) -> None:
    rng = random.Random(seed)
    rows: list[str] = []
    for _ in range(60):
        if rows and rng.random() < 0.5:
            words = rng.choice(rows).split()
            for _ in range(rng.randint(1, 4)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
        else:
            words = rng.choices(WORDS, k=rng.randint(6, 40))
        rows.append(" ".join(words))
    texts = taken([Sides(row, "") for row in rows], threshold)
    above = {(earlier, later) for earlier, later, alike, _ in compared(texts) if alike >= threshold}
    sets = [np.unique(shingles([row], WIDTH)[0]) for row in rows]
    true = {(a, b) for a, b in combinations(range(len(rows)), 2) if jaccard(sets[a], sets[b]) >= threshold}
    assert above == true


def test_a_common_instruction_does_not_make_rows_alike() -> None:
    rng = random.Random(3)
    instruction = "You will be shown a message of a customer. Name the one intent that it has, and nothing else. " * 3
    rows = [Sides(instruction + " ".join(rng.choices(WORDS, k=8)), rng.choice(WORDS)) for _ in range(300)]
    rows.append(Sides(rows[10].prompt + " please", rows[10].answer))
    assert [pair for *pair, prompts, answers in compared(taken(rows)) if min(prompts, answers) >= 0.8] == [[10, 300]]


def test_very_many_rows_of_one_band_stay_bounded() -> None:
    rng = random.Random(5)
    base = rng.choices(WORDS, k=30)
    rows = [Sides(" ".join([*base[:-1], rng.choice(WORDS)]), "") for _ in range(400)]
    others = [Sides(" ".join(rng.choices(WORDS, k=10)), "") for _ in range(600)]
    texts = taken(others + rows)
    pairs = compared(texts)
    assert len(pairs) < 120 * len(rows)
    joined = {later for _, later, _, _ in pairs}
    assert set(range(601, 1_000)) <= joined, "each one is compared with an earlier one"
