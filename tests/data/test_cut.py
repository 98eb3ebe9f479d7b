"""Micro-batches: as few as the limit allows, as equal as can be, whole samples, neighbours together."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Sample, TokenRow
from etude.data import cut as cutting
from etude.data.batches import OfflineBatches
from etude.packing import pack
from etude.training.ranks import Ranks
from tests.data.test_batches import all_of, samples


def sample(name: str, *rows: tuple[int, ...]) -> Sample:
    return Sample(name, tuple(TokenRow(tokens, (0.0, *[1.0] * (len(tokens) - 1))) for tokens in rows))


def unshared(*lengths: int) -> list[Sample]:
    """Samples with nothing in common that compute so many tokens each."""
    return [sample(str(i), (*[10 + i] * length, 3)) for i, length in enumerate(lengths)]


def cut(given_samples: Sequence[Sample], **settings: Any) -> list[list[Sample]]:
    """The parts as samples."""
    return [[given_samples[at] for at in part] for part in cutting.cut(given_samples, **settings)]


def computed(part: list[Sample]) -> int:
    return len(pack(part).tokens_T)


def ids(parts: list[list[Sample]]) -> list[list[str]]:
    return [[one.id for one in part] for part in parts]


@given(
    n=st.integers(1, 50),
    seed=st.integers(0, 99),
    tokens=st.integers(1, 150),
    ranks=st.integers(1, 5),
    rows=st.integers(1, 3),
)
def test_every_part_fits_and_every_sample_is_in_one(n: int, seed: int, tokens: int, ranks: int, rows: int) -> None:
    given_samples = samples(n, seed=seed, rows=rows)
    parts = cut(given_samples, tokens=tokens, multiple_of=ranks)
    assert Counter(one for part in ids(parts) for one in part) == Counter(one.id for one in given_samples)
    assert all(computed(part) <= tokens for part in parts if len(part) > 1)
    assert len(parts) % ranks == 0 or len(parts) == n
    everything = [one for part in parts for one in part]
    assert everything == sorted(given_samples, key=lambda one: one.rows[0].tokens), "neighbours in token order"


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9), limit=st.integers(1, 120))
def test_as_few_and_as_equal_as_can_be(lengths: list[int], limit: int) -> None:
    """Against all contiguous cuts of a few samples."""
    parts = cut(unshared(*lengths), tokens=limit)
    found = [sum(lengths[int(one)] for one in part) for part in ids(parts)]
    best: dict[int, int] = {}
    for mask in range(1 << (len(lengths) - 1)):
        sums, alone = [lengths[0]], [True]
        for i, length in enumerate(lengths[1:]):
            if mask >> i & 1:
                sums, alone = [*sums, length], [*alone, True]
            else:
                sums[-1] += length
                alone[-1] = False
        if all(total <= limit or single for total, single in zip(sums, alone, strict=True)):
            best[len(sums)] = min(max(sums), best.get(len(sums), 10**9))
    fewest = min(best)
    assert len(found) == fewest
    assert max(found) == best[fewest] or max(lengths) > limit


def test_parts_are_equal_not_filled_up() -> None:
    assert [computed(part) for part in cut(unshared(*[10] * 9), tokens=80)] == [50, 40]


def test_each_rank_gets_as_many_parts_of_like_size() -> None:
    parts = cut(unshared(*[30] * 4, *[10] * 12), tokens=1000, multiple_of=2)
    assert [computed(part) for part in parts] == [120, 120]
    assert len(cut(unshared(*[10] * 6), tokens=1000, multiple_of=4)) == 4
    assert len(cut(unshared(10, 10), tokens=1000, multiple_of=4)) == 2, "no more parts than samples"


def test_a_shared_prefix_is_counted_once_and_kept_together() -> None:
    prefix = tuple(range(100, 200))
    mixed = [sample(f"{i % 2}.{i}", (*prefix[:: 1 - 2 * (i % 2)], i, 3)) for i in range(20)]
    parts = cut(mixed, tokens=300, multiple_of=2)
    assert [len({one.id[0] for one in part}) for part in parts] == [1, 1]
    assert len(cut(mixed, tokens=300, share_prefixes=False)) == 10


def test_the_rows_of_a_pair_share_their_prompt() -> None:
    prompt = tuple(range(100, 180))
    pairs = [sample(str(i), (i, *prompt, 1, 2), (i, *prompt, 3, 4)) for i in range(10, 20)]
    assert [len(part) for part in cut(pairs, tokens=200)] == [2] * 5


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_parts_are_balanced(world: int) -> None:
    """Contiguous shares of equal counts would give one rank all the long rows, which sort together."""
    draw = random.Random(0)
    long = [sample(f"long {i}", tuple(draw.randrange(50, 90) for _ in range(60))) for i in range(8)]
    short = [sample(f"short {i}", tuple(draw.randrange(3, 40) for _ in range(12))) for i in range(40)]
    source = OfflineBatches(samples=(*long, *short))
    totals = [
        sum(len(batch.tokens_T) for batch in source.sweep(Ranks(rank=rank, world=world).share, num_ranks=world))
        for rank in range(world)
    ]
    assert max(totals) < 1.15 * min(totals)


def test_a_lowered_limit_cuts_finer_and_loses_nothing() -> None:
    source = OfflineBatches(samples=samples(30), tokens=10_000)
    whole, finer = list(source.sweep(all_of)), list(source.sweep(all_of, most_tokens=60))
    assert len(whole) == 1
    assert all(len(batch.tokens_T) <= 60 for batch in finer)
    assert sorted(one for batch in finer for one in batch.sample_ids) == sorted(whole[0].sample_ids)
    assert len(list(source.sweep(all_of, most_tokens=20_000))) == 1
