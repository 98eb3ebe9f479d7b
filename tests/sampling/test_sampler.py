"""Decoding against transformers' own generation, and its promise that a row never depends on its company."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from etude.batch import TokenRow
from etude.errors import EtudeError, ModelError
from etude.models.attention import IMPLEMENTATION, register_tree_attention
from etude.models.loaded import LoadedModel, Way
from etude.models.scoring import score_rows
from etude.sampling import padded
from etude.sampling.cache import GrowingLayer
from etude.sampling.options import SampleOptions
from etude.sampling.pages import PagePool
from etude.sampling.sampler import Completion, sample, stream
from tests.sampling.families import BY_POSITION, FUSED, OTHERS, VOCABULARY, family
from tests.toy import toy_loaded, toy_tokenizer

NOTHING: frozenset[int] = frozenset()


def random_prompts(lengths: Sequence[int], *, shared: int = 0, seed: int = 0) -> list[tuple[int, ...]]:
    generator = random.Random(seed)
    prefix = [generator.randrange(5, VOCABULARY) for _ in range(shared)]
    return [tuple(prefix + [generator.randrange(5, VOCABULARY) for _ in range(length)]) for length in lengths]


def generated(model: LoadedModel, prompt: Sequence[int], max_new_tokens: int) -> list[int]:
    """What transformers' own greedy generation writes, one prompt at a time."""
    module: Any = model.module
    module.generation_config.eos_token_id = None
    rows = module.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return list(rows[0, len(prompt) :].tolist())


def plain_log_probabilities(model: LoadedModel, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model.module(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    return logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]


def assert_same(found: Sequence[Completion], wanted: Sequence[Completion]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert (a.tokens, a.text, a.finish) == (b.tokens, b.text, b.finish)
        torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4, rtol=0)


@contextmanager
def passes(model: LoadedModel) -> Iterator[list[tuple[int, int]]]:
    """Records (rows, tokens) of every forward pass."""
    seen: list[tuple[int, int]] = []

    def note(_: nn.Module, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        seen.append(tuple(given["input_ids"].shape))

    hook = model.module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("shared", [0, 40])
@pytest.mark.parametrize(
    ("name", "way"),
    [*((n, "tree") for n in BY_POSITION), *((n, "rows") for n in OTHERS), *((n, "fused") for n in FUSED)],
)
def test_greedy_equals_transformers_generate(name: str, way: Way, shared: int) -> None:
    model = family(name, way)
    prompts = random_prompts([3, 17, 1, 9, 9], shared=shared)
    prompts.append(prompts[1])
    found = sample(model, prompts, SampleOptions(max_new_tokens=10, batch_rows=4), end_ids=NOTHING)
    for prompt, answer in zip(prompts, found, strict=True):
        assert list(answer.tokens) == generated(model, prompt, 10)
        wanted = plain_log_probabilities(model, prompt, answer.tokens)
        torch.testing.assert_close(torch.tensor(answer.logprobs), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "way"), [("llama", "fused"), ("llama", "tree"), ("mistral", "tree"), ("gemma3", "tree"), ("gpt2", "tree")]
)
def test_a_row_does_not_depend_on_batch_size_or_padding(name: str, way: Way, temperature: float) -> None:
    model = family(name, way)
    prompts = random_prompts([5, 30, 2, 11, 8, 19, 1])
    options = SampleOptions(max_new_tokens=9, temperature=temperature, top_p=0.95, seed=4)
    alone = sample(model, prompts, replace(options, batch_rows=1), end_ids=NOTHING)
    for batch_rows in (2, 3, 32):
        assert_same(sample(model, prompts, replace(options, batch_rows=batch_rows), end_ids=NOTHING), alone)
    # Among others, with a longer neighbour, and without the shared prefix: still the same rows.
    longer = [*prompts, *random_prompts([90], seed=9)]
    assert_same(sample(model, longer, options, end_ids=NOTHING)[:-1], alone)
    equal_lengths = replace(model, way="rows")
    assert_same(sample(equal_lengths, prompts, options, end_ids=NOTHING), alone)


def test_greedy_results_follow_the_prompts_order() -> None:
    model, prompts = family("llama"), random_prompts([5, 30, 2, 11, 8])
    options = SampleOptions(max_new_tokens=6)
    forward = sample(model, prompts, options, end_ids=NOTHING)
    assert_same(sample(model, prompts[::-1], options, end_ids=NOTHING)[::-1], forward)


@pytest.mark.parametrize("way", ["fused", "tree"])
def test_log_probabilities_equal_scoring(way: Way) -> None:
    model = replace(toy_loaded(), way=way)
    prompts = random_prompts([4, 13, 7], shared=40)
    options = SampleOptions(max_new_tokens=20, temperature=0.7, top_k=20, seed=2)
    found = sample(model, prompts, options, end_ids=NOTHING)
    rows = [(*prompt, *answer.tokens) for prompt, answer in zip(prompts, found, strict=True)]
    scored = score_rows(model, [TokenRow(row, (0.0,) + (1.0,) * (len(row) - 1)) for row in rows])
    for prompt, answer, score in zip(prompts, found, scored, strict=True):
        torch.testing.assert_close(torch.tensor(answer.logprobs), score[len(prompt) - 1 :], atol=1e-4, rtol=0)


def test_seeds_and_rows_differ_and_repeat() -> None:
    model = toy_loaded()
    prompts = random_prompts([6]) * 4
    options = SampleOptions(max_new_tokens=12, temperature=1.0, seed=1)
    first = sample(model, prompts, options, end_ids=NOTHING)
    assert_same(sample(model, prompts, options, end_ids=NOTHING), first)
    assert len({answer.tokens for answer in first}) == 4
    other = sample(model, prompts, replace(options, seed=2), end_ids=NOTHING)
    assert not {answer.tokens for answer in first} & {answer.tokens for answer in other}


def test_sampled_first_tokens_follow_the_model() -> None:
    model = toy_loaded()
    prompt, draws, likeliest = random_prompts([6])[0], 3000, 20
    options = SampleOptions(max_new_tokens=1, temperature=1.0, top_k=likeliest, seed=0, batch_rows=1000)
    found = sample(model, [prompt] * draws, options, end_ids=NOTHING)
    with torch.no_grad():
        best = model.module(torch.tensor([prompt])).logits[0, -1].double().softmax(0).topk(likeliest)
    counts = [sum(answer.tokens[0] == token for answer in found) for token in best.indices.tolist()]
    assert sum(counts) == draws
    assert chisquare(counts, best.values / best.values.sum() * draws).pvalue > 0.01


def test_an_ending_token_is_the_last_one() -> None:
    model, prompts = toy_loaded(), random_prompts([5, 9, 3, 7])
    free = sample(model, prompts, SampleOptions(max_new_tokens=20), end_ids=NOTHING)
    end = free[0].tokens[6]
    found = sample(model, prompts, SampleOptions(max_new_tokens=20), end_ids=frozenset({end}))
    for cut, whole in zip(found, free, strict=True):
        length = whole.tokens.index(end) + 1 if end in whole.tokens else 20
        assert cut.tokens == whole.tokens[:length]
        assert cut.finish == ("stop" if end in whole.tokens else "length")
        kept = [token for token in cut.tokens if token not in {end, 0, 1, 2}]
        assert cut.text == toy_tokenizer().decode(kept)


def test_a_stop_text_cuts_the_answer() -> None:
    model, prompts = toy_loaded(), random_prompts([5, 9])
    options = SampleOptions(max_new_tokens=30, temperature=1.5, seed=3)
    free = sample(model, prompts, options, end_ids=NOTHING)
    middle = len(free[0].text) // 2
    stop = free[0].text[middle : middle + 3]
    cut, other = sample(model, prompts, replace(options, stop=(stop, "never written")), end_ids=NOTHING)
    assert cut.text == free[0].text[: free[0].text.index(stop)]
    assert cut.finish == "stop"
    assert cut.tokens == free[0].tokens[: len(cut.tokens)]
    assert other.tokens == free[1].tokens or stop in free[1].text


def test_finished_rows_leave_the_batch() -> None:
    model, prompts = family("llama"), random_prompts([5] * 8)
    free = sample(model, prompts, SampleOptions(max_new_tokens=16), end_ids=NOTHING)
    ends = frozenset(answer.tokens[2] for answer in free[:6])
    with passes(model) as seen:
        found = sample(model, prompts, SampleOptions(max_new_tokens=16), end_ids=ends)
    assert [rows for rows, _ in seen] == sorted((rows for rows, _ in seen), reverse=True)
    assert seen[-1][0] < 8
    for cut, whole in zip(found, free, strict=True):
        assert cut.tokens == whole.tokens[: len(cut.tokens)]


def test_a_shared_prefix_and_equal_prompts_are_computed_once() -> None:
    model = family("llama")
    prompts = random_prompts([4, 6, 6], shared=50)
    with passes(model) as seen:
        sample(model, prompts * 3, SampleOptions(max_new_tokens=1, batch_rows=9), end_ids=NOTHING)
    assert seen == [(1, 50), (3, 6)]


def test_the_prefix_is_computed_once_for_all_batches() -> None:
    model = family("llama")
    with passes(model) as seen:
        sample(
            model, random_prompts([4] * 6, shared=50), SampleOptions(max_new_tokens=1, batch_rows=2), end_ids=NOTHING
        )
    assert seen == [(1, 50), (2, 4), (2, 4), (2, 4)]


def test_long_prompts_go_through_in_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = family("gemma2"), random_prompts([3, 50, 20])
    options = SampleOptions(max_new_tokens=8)
    whole = sample(model, prompts, options, end_ids=NOTHING)
    monkeypatch.setattr(padded, "TOKENS_PER_PASS", 21)
    with passes(model) as seen:
        assert_same(sample(model, prompts, options, end_ids=NOTHING), whole)
    assert max(rows * tokens for rows, tokens in seen) <= 21


def test_the_cache_grows_with_long_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = family("mistral"), random_prompts([3, 12])
    monkeypatch.setattr(padded, "ROOM", 2)
    found = sample(model, prompts, SampleOptions(max_new_tokens=60), end_ids=NOTHING)
    for prompt, answer in zip(prompts, found, strict=True):
        assert list(answer.tokens) == generated(model, prompt, 60)


def test_progress_counts_answers() -> None:
    seen: list[tuple[int, int]] = []
    options = SampleOptions(max_new_tokens=4, batch_rows=2)
    sample(toy_loaded(), random_prompts([3, 4, 5]), options, end_ids=NOTHING, on_progress=lambda *now: seen.append(now))
    assert seen[-1] == (3, 3)
    assert seen == sorted(set(seen))


def test_no_prompts_no_answers() -> None:
    assert sample(toy_loaded(), [], SampleOptions(), end_ids=NOTHING) == []


@pytest.mark.parametrize(
    ("prompts", "options", "says"),
    [
        ([(5, 6), ()], SampleOptions(), "toy, prompt 1: the prompt has no tokens"),
        (
            [(5,), (5,) * 500],
            SampleOptions(max_new_tokens=13),
            "toy, prompt 1: 500 tokens .* exceed the context of 512",
        ),
        ([(5,)], SampleOptions(temperature=-1.0, top_p=2.0), "temperature: must be .*\n.*top_p: must be"),
        ([(5, VOCABULARY)], SampleOptions(), f"prompt 0: token {VOCABULARY} is not in the vocabulary of {VOCABULARY}"),
    ],
)
def test_bad_input_is_named(prompts: list[tuple[int, ...]], options: SampleOptions, says: str) -> None:
    with pytest.raises(EtudeError, match=says):
        sample(toy_loaded(), prompts, options, end_ids=NOTHING)


def test_the_whole_context_can_be_used() -> None:
    (answer,) = sample(toy_loaded(), [(5,) * 500], SampleOptions(max_new_tokens=12), end_ids=NOTHING)
    assert len(answer.tokens) == 12


@pytest.mark.parametrize("way", ["fused", "tree", "rows"])
def test_logits_that_are_no_numbers_stop_with_row_and_step(way: Way) -> None:
    model = replace(toy_loaded(tied=False), way=way)
    (answer,) = sample(model, [(5, 6)], SampleOptions(max_new_tokens=5), end_ids=NOTHING)
    poisoned = next(token for token in answer.tokens if token not in (5, 6))
    step = answer.tokens.index(poisoned) + 1
    embedding: Any = model.module.get_input_embeddings()
    embedding.weight[poisoned] = torch.nan
    before = model.module.config._attn_implementation
    with pytest.raises(ModelError, match=f"prompt 0, step {step}: the model's logits are not finite"):
        sample(model, [(5, 6)], SampleOptions(max_new_tokens=5), end_ids=NOTHING)
    with pytest.raises(ModelError, match="prompt 1, step 0: the model's logits are not finite"):
        sample(model, [(5, 6), (5, poisoned)], SampleOptions(max_new_tokens=5), end_ids=NOTHING)
    assert model.module.config._attn_implementation == before


@pytest.mark.parametrize("way", ["fused", "tree", "rows"])
def test_the_model_is_left_as_it_was(way: Way) -> None:
    model = replace(toy_loaded(), way=way)
    module = model.module
    module.requires_grad_(True)
    module.set_attn_implementation("eager")
    layers: Any = module.model
    layers.layers[0].mlp.down_proj = nn.Sequential(layers.layers[0].mlp.down_proj, nn.Dropout(0.5))
    module.train()
    layers.layers[1].eval()
    modes = [part.training for part in module.modules()]
    prompts, options = random_prompts([4, 6]), SampleOptions(max_new_tokens=5)
    first = sample(model, prompts, options, end_ids=NOTHING)
    assert_same(sample(model, prompts, options, end_ids=NOTHING), first)
    assert [part.training for part in module.modules()] == modes
    assert module.config._attn_implementation == "eager"
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    loss = module(input_ids=torch.tensor([prompts[0]]), labels=torch.tensor([prompts[0]])).loss
    loss.backward()
    assert all(weight.grad is not None for weight in module.parameters())


def test_training_attention_may_stay_set() -> None:
    register_tree_attention()
    prompts, options = random_prompts([4, 9, 2]), SampleOptions(max_new_tokens=6)
    ways: tuple[Way, ...] = ("fused", "tree", "rows")
    for way in ways:
        model = replace(toy_loaded(), way=way)
        wanted = sample(model, prompts, options, end_ids=NOTHING)
        model.module.set_attn_implementation(IMPLEMENTATION)
        assert_same(sample(model, prompts, options, end_ids=NOTHING), wanted)
        assert model.module.config._attn_implementation == IMPLEMENTATION


@pytest.mark.parametrize("way", ["fused", "tree"])
@pytest.mark.parametrize("stop", [True, False])
def test_nothing_stays_in_memory(way: Way, stop: bool) -> None:
    def caches() -> int:
        gc.collect()
        return sum(type(one) in (GrowingLayer, PagePool) for one in gc.get_objects())

    before = caches()
    options = SampleOptions(max_new_tokens=4, stop=("a",) if stop else ())
    sample(replace(toy_loaded(), way=way), random_prompts([4, 6], shared=70), options, end_ids=NOTHING)
    assert caches() == before


@pytest.mark.parametrize("way", ["fused", "tree", "rows"])
@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_streaming_gives_the_same_answer_piece_by_piece(way: Way, temperature: float) -> None:
    model = replace(toy_loaded(), way=way)
    prompt = random_prompts([9])[0]
    options = SampleOptions(max_new_tokens=40, temperature=temperature, stop=("qu",))
    pieces, done = drained(lambda: stream(model, prompt, options, end_ids=frozenset({2})))
    assert_same([done], sample(model, [prompt], options, end_ids=frozenset({2})))
    assert "".join(pieces) == done.text
    assert len(pieces) > 3 or not temperature


def drained(start: Callable[[], Generator[str, None, Completion]]) -> tuple[list[str], Completion]:
    pieces: list[str] = []
    running = start()
    while True:
        try:
            pieces.append(next(running))
        except StopIteration as end:
            done: Completion = end.value
            return pieces, done


def test_between_two_pieces_the_model_is_free() -> None:
    model = toy_loaded()
    model.module.set_attn_implementation("sdpa")
    running = stream(model, random_prompts([9])[0], SampleOptions(max_new_tokens=40, temperature=1.0), end_ids=NOTHING)
    next(running)
    assert torch.is_grad_enabled()
    assert model.module.config._attn_implementation == "sdpa"
    other = sample(model, random_prompts([3]), SampleOptions(max_new_tokens=3), end_ids=NOTHING)
    next(running)
    running.close()
    assert_same(sample(model, random_prompts([3]), SampleOptions(max_new_tokens=3), end_ids=NOTHING), other)
