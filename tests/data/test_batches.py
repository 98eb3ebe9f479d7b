"""Steps from samples: each once an epoch, the order a function of (seed, epoch), resuming is skipping."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.batch import Batch, Sample, Step, TokenRow
from etude.data.batches import OfflineBatches, batches, epoch_order
from etude.data.read import Records
from etude.errors import DataError, Problems
from etude.records import Conversation, Message, Origin
from etude.training.ranks import Ranks
from tests.toy import toy_tokenizer


def all_of(items: Sequence[Sample]) -> Sequence[Sample]:
    return items


def samples(n: int, *, seed: int = 0, rows: int = 1) -> tuple[Sample, ...]:
    """Rows of different lengths; they share 0, 5, 10 or 15 tokens with some others."""
    draw = random.Random(seed)

    def row() -> TokenRow:
        tokens = (*[7] * draw.choice([0, 5, 10, 15]), *(draw.randrange(3, 90) for _ in range(draw.randint(2, 9))))
        return TokenRow(tokens, (0.0, *[1.0] * (len(tokens) - 1)))

    return tuple(Sample(f"f.jsonl:{i}", tuple(row() for _ in range(rows))) for i in range(n))


def steps(
    n: int, *, batch_rows: int, total: int | None = None, seed: int = 0, first: int = 0, ranks: Ranks | None = None
) -> list[Step]:
    source = OfflineBatches(samples=samples(n))
    share = all_of if ranks is None else ranks.share
    return list(
        source.steps(
            batch_rows=batch_rows,
            seed=seed,
            first=first,
            total_samples=n if total is None else total,
            share=share,
            num_ranks=1 if ranks is None else ranks.world,
        )
    )


def ids(found: Sequence[Step]) -> list[str]:
    return [one for step in found for one in step.sample_ids]


def learned(batch: Batch) -> Counter[tuple[str, int]]:
    """(sample, target) of each site."""
    owner = [batch.sample_ids[batch.sample_of_row[r]] for r in batch.row_S.tolist()]
    return Counter(zip(owner, batch.target_S.tolist(), strict=True))


@given(n=st.integers(1, 30), batch_rows=st.integers(1, 12), epochs=st.integers(1, 3), seed=st.integers(0, 2**40))
def test_each_sample_once_an_epoch_whatever_the_batch_size(n: int, batch_rows: int, epochs: int, seed: int) -> None:
    found = steps(n, batch_rows=batch_rows, total=n * epochs, seed=seed)
    order = ids(found)
    everything = sorted(sample.id for sample in samples(n))
    assert [sorted(order[e * n : (e + 1) * n]) for e in range(epochs)] == [everything] * epochs
    assert [len(step.sample_ids) for step in found[:-1]] == [batch_rows] * (len(found) - 1)
    assert [step.epoch for step in found] == [min((k + 1) * batch_rows, n * epochs) / n for k in range(len(found))]
    for epoch in range(epochs):
        expected = [f"f.jsonl:{i}" for i in epoch_order(n, seed=seed, epoch=epoch)]
        assert order[epoch * n : (epoch + 1) * n] == expected, "a function of (seed, epoch) alone"


@given(n=st.integers(1, 20), batch_rows=st.integers(1, 7), total=st.integers(1, 60), first=st.integers(0, 70))
def test_resuming_is_skipping(n: int, batch_rows: int, total: int, first: int) -> None:
    whole = steps(n, batch_rows=batch_rows, total=total)
    tail = steps(n, batch_rows=batch_rows, total=total, first=first)
    assert [step.sample_ids for step in tail] == [step.sample_ids for step in whole[first:]]
    assert [step.epoch for step in tail] == [step.epoch for step in whole[first:]]
    for ours, theirs in zip(tail, whole[first:], strict=True):
        assert [b.tokens_T.tolist() for b in ours.batches] == [b.tokens_T.tolist() for b in theirs.batches]


def test_a_fractional_epoch_takes_that_share_of_the_samples() -> None:
    found = steps(10, batch_rows=4, total=25)
    assert [len(step.sample_ids) for step in found] == [4, 4, 4, 4, 4, 4, 1]
    assert found[-1].epoch == 2.5
    assert Counter(Counter(ids(found)).values()) == {3: 5, 2: 5}


def test_a_batch_larger_than_the_data_goes_round_again() -> None:
    (step,) = steps(3, batch_rows=8, total=8)
    assert sorted(Counter(step.sample_ids).values()) == [2, 3, 3]
    assert step.epoch == pytest.approx(8 / 3)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(30, seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert ids(steps(30, batch_rows=5, seed=1)) == ids(steps(30, batch_rows=7, seed=1))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_ranks_parts_together_are_the_step(world: int) -> None:
    whole = steps(17, batch_rows=4, total=40)
    parts = [steps(17, batch_rows=4, total=40, ranks=Ranks(rank=rank, world=world)) for rank in range(world)]
    for k, step in enumerate(whole):
        assert all(part[k].sample_ids == step.sample_ids for part in parts), "ids are those of all ranks"
        together = sum((learned(b) for part in parts for b in part[k].batches), Counter[tuple[str, int]]())
        assert together == sum((learned(b) for b in step.batches), Counter[tuple[str, int]]())


@given(n=st.integers(1, 60), seed=st.integers(0, 99), tokens=st.integers(1, 120), share=st.booleans())
def test_no_batch_exceeds_the_token_budget(n: int, seed: int, tokens: int, share: bool) -> None:
    given_samples = samples(n, seed=seed, rows=1 + seed % 2)
    source = OfflineBatches(samples=given_samples, tokens=tokens, share_prefixes=share)
    found = list(source.sweep(all_of))
    assert all(len(batch.tokens_T) <= tokens for batch in found if len(batch.sample_ids) > 1)
    assert Counter(one for batch in found for one in batch.sample_ids) == Counter(s.id for s in given_samples)


def test_samples_that_barely_share_count_in_full() -> None:
    rows = [(*[5] * 7, 10 + i, 3) for i in range(60)]  # 7 common tokens: too few for a branch
    made = tuple(Sample(str(i), (TokenRow(row, (0.0, *[1.0] * 8)),)) for i, row in enumerate(rows))
    found = list(OfflineBatches(samples=made, tokens=50).sweep(all_of))
    assert [len(batch.tokens_T) for batch in found] == [48] * 10, "the last token of each row is only a target"


def test_a_shared_prefix_counts_once_in_the_budget() -> None:
    prefix = tuple(range(100, 200))
    made = tuple(Sample(str(i), (TokenRow((*prefix, i, 3), (0.0,) * 101 + (1.0,)),)) for i in range(20))
    shared = list(OfflineBatches(samples=made, tokens=300).sweep(all_of))
    flat = list(OfflineBatches(samples=made, tokens=300, share_prefixes=False).sweep(all_of))
    assert (len(shared), len(flat)) == (1, 10)


def test_the_rows_of_a_sample_stay_together() -> None:
    source = OfflineBatches(samples=samples(12, rows=3), tokens=1)
    found = list(source.sweep(all_of))
    assert [(len(batch.sample_ids), batch.num_rows) for batch in found] == [(1, 3)] * 12


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no samples to learn from"):
        OfflineBatches(samples=())


def conversations(*answers: str) -> Records:
    rows = tuple(
        Conversation((Message("user", "What is the capital?"), Message("assistant", answer)), Origin("c.jsonl", i + 1))
        for i, answer in enumerate(answers)
    )
    return Records(rows=rows, detected="", format="messages", bad=(), sha256="0", sources=("c.jsonl",), quarantine=None)


def test_batches_renders_records_with_the_models_template() -> None:
    model = SimpleNamespace(tokenizer=toy_tokenizer())
    source = batches(conversations("Paris.", "my card", "dog"), model, tokens=500)
    assert source.num_samples == 3
    assert [sample.id for sample in source.samples] == ["c.jsonl:1", "c.jsonl:2", "c.jsonl:3"]
    (step,) = source.steps(batch_rows=3, seed=0, first=0, total_samples=3, share=all_of)
    (batch,) = step.batches
    answers = {}
    for r, target in zip(batch.row_S.tolist(), batch.target_S.tolist(), strict=True):
        answers.setdefault(batch.sample_ids[batch.sample_of_row[r]], []).append(target)
    texts = {one: toy_tokenizer().decode(tokens).strip() for one, tokens in answers.items()}
    assert texts == {"c.jsonl:1": "Paris.<|im_end|>", "c.jsonl:2": "my card<|im_end|>", "c.jsonl:3": "dog<|im_end|>"}


def test_batches_refuses_rows_that_are_too_long() -> None:
    with pytest.raises(Problems, match=r"c\.jsonl:1"):
        batches(conversations("Paris."), SimpleNamespace(tokenizer=toy_tokenizer()), max_tokens=5)
