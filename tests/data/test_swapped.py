"""What can be known of swapped labels, on pairs whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from etude.batch import Sample, TokenRow
from etude.data.swapped import LabelCheck, check_judgements, check_labels

GOOD, BAD = range(100, 130), range(130, 160)


def pairs(count: int, *, seed: int, clear: float = 0.9) -> list[Sample]:
    """Answers of twelve words; better ones have more of the good words, and `clear` says how often that decides."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        prompt = (1, 2, 3, 1000 + seed * 100_000 + number, 4)
        good, bad = (tuple(chance.choices([*range(200, 400), *kind] * 1, k=12)) for kind in (GOOD, BAD))
        good, bad = (*good, *chance.choices(GOOD, k=3)), (*bad, *chance.choices(BAD, k=3))
        if chance.random() > clear:
            good, bad = bad, good
        found.append(
            Sample(str(number), tuple(TokenRow((*prompt, *words), (*[0.0] * 5, *[1.0] * 15)) for words in (good, bad)))
        )
    return found


def swapped(samples: Sequence[Sample], share: float, *, seed: int = 0) -> list[Sample]:
    wrong = set(random.Random(seed).sample(range(len(samples)), round(share * len(samples))))
    return [replace(one, rows=one.rows[::-1]) if at in wrong else one for at, one in enumerate(samples)]


def check(samples: Sequence[Sample], trusted: Sequence[Sample] = ()) -> LabelCheck:
    found = check_labels(samples, trusted)
    assert found is not None
    return found


DATA, OUTSIDE = pairs(600, seed=1), pairs(300, seed=2)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("judged_again", [False, True])
def test_the_share_is_inside_its_interval(share: float, judged_again: bool) -> None:
    trusted = random.Random(3).sample(DATA, 300) if judged_again else OUTSIDE
    found = check(swapped(DATA, share), trusted)
    assert found.judged_again == (300 if judged_again else 0)
    if share == 0.5 and not judged_again:
        assert found.swapped is None, "from labels without any direction the words learn nothing"
        return
    assert found.swapped is not None
    assert found.swapped.low <= share <= found.swapped.high
    assert found.swapped.high - found.swapped.low < 0.2
    assert found.refused == (share == 1.0)
    assert found.warned == (share >= 0.05)


def test_intervals_hold_as_often_as_they_say() -> None:
    inside = []
    for seed in range(8):
        found = check(swapped(pairs(200, seed=10 + seed), 0.1, seed=seed), pairs(100, seed=50 + seed))
        assert found.swapped is not None
        inside.append(found.swapped.low <= 0.1 <= found.swapped.high)
    assert sum(inside) >= 6, "95 % of 8 is 7 or 8"


def test_pairs_alone_know_no_direction() -> None:
    right, wrong = check(DATA), check(swapped(DATA, 1.0))
    assert right == wrong, "all labels swapped look just as consistent"
    assert right.swapped is None
    assert not right.refused
    assert right.consistent.low > 0.7
    assert "pairs alone cannot tell" in str(right)
    assert check(swapped(DATA, 0.2)).most_swapped > 0.2


def test_too_few_trusted_pairs_say_nothing() -> None:
    assert check(DATA, OUTSIDE[:10]).swapped is None
    assert check_labels(DATA[:50]) is None


def test_pairs_with_either_label_are_counted() -> None:
    twice = [replace(one, rows=one.rows[::-1]) for one in DATA[:7]]
    assert check([*DATA, *twice]).both_ways == 7
    assert check([*DATA, *DATA[:7]]).both_ways == 0


def test_arrays_are_rows_too() -> None:
    stored = [
        replace(one, rows=tuple(TokenRow(np.asarray(row.tokens), np.asarray(row.weights)) for row in one.rows))  # type: ignore[arg-type]
        for one in DATA
    ]
    assert check(stored, DATA[:30]) == check(DATA, DATA[:30])


def judged(samples: Sequence[Sample], swapped_share: float = 0.0) -> list[Sample]:
    """Each pair's chosen answer as a good one, or its rejected one as a bad one, with some labels turned round."""
    wrong = set(random.Random(0).sample(range(len(samples)), round(swapped_share * len(samples))))
    found = []
    for at, pair in enumerate(samples):
        value = (1.0 if at % 2 else -1.0) * (-1.0 if at in wrong else 1.0)
        row = replace(pair.rows[0 if at % 2 else 1], value=value)
        found.append(Sample(pair.id, (row, pair.rows[0])))
    return found


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("judged_again", [False, True])
def test_swapped_judgements_are_found_likewise(share: float, judged_again: bool) -> None:
    truth = judged(DATA)
    trusted = random.Random(3).sample(truth, 300) if judged_again else judged(OUTSIDE)
    found = check_judgements(judged(DATA, share), trusted)
    assert found is not None
    assert found.judged_again == (300 if judged_again else 0)
    assert found.swapped is not None
    assert found.swapped.low <= share <= found.swapped.high
    assert (found.refused, found.warned) == (share == 1.0, share == 1.0 or (share == 0.05 and judged_again))
    alone = check_judgements(judged(DATA, share))
    assert alone is not None
    assert "judged answers alone cannot tell" in str(alone)
    assert check_judgements(truth[:100]) is None


def test_answers_with_either_judgement_are_counted() -> None:
    truth = judged(DATA)
    twice = [replace(one, rows=(replace(one.rows[0], value=-one.rows[0].value), one.rows[1])) for one in truth[:7]]
    found = check_judgements([*truth, *twice])
    assert found is not None
    assert found.both_ways == 7
    assert "7 judged answers stand in the data with either label" in str(found)
