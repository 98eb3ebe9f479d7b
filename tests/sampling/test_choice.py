"""The choice of a token: against a naive reference, and by its statistics."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from etude.models import kernels
from etude.sampling import choice
from etude.sampling.choice import choose, kept
from etude.sampling.options import SampleOptions

# Few different values, so that ties are common.
ROWS = st.lists(st.sampled_from([-9.0, -2.0, -1.0, 0.0, 0.5, 0.75, 3.0]), min_size=1, max_size=12)


def naively_kept(logits: list[float], top_k: int, top_p: float) -> set[int]:
    """Sort by likelihood then id, cut to k, then take tokens until their share reaches top_p."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    order = order[:top_k] if top_k else order
    total = math.fsum(math.exp(logits[token]) for token in order)
    taken: list[int] = []
    for token in order:
        if taken and math.fsum(math.exp(logits[one]) for one in taken) / total >= top_p:
            break
        taken.append(token)
    return set(taken)


@given(ROWS, st.integers(0, 14), st.floats(0.05, 1.0))
def test_kept_tokens_are_those_of_a_naive_reference(logits: list[float], top_k: int, top_p: float) -> None:
    found = kept(torch.tensor([logits]), top_k=top_k, top_p=top_p)[0].nonzero()[:, 0].tolist()
    wanted = naively_kept(logits, top_k, top_p)
    # Float32 shares: a nucleus that ends within rounding of top_p may be one token larger or smaller.
    near = [naively_kept(logits, top_k, min(1.0, max(0.001, top_p + nudge))) for nudge in (-1e-5, 1e-5)]
    assert set(found) in [wanted, *near]


@given(ROWS, st.integers(1, 14))
def test_top_k_keeps_exactly_k_and_the_lower_id_among_equals(logits: list[float], top_k: int) -> None:
    found = kept(torch.tensor([logits]), top_k=top_k, top_p=1.0)[0].nonzero()[:, 0].tolist()
    assert set(found) == naively_kept(logits, top_k, 1.0)
    assert len(found) == min(top_k, len(logits))


def test_a_nucleus_wider_than_the_first_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3, 300, generator=torch.Generator().manual_seed(0)) * 0.1
    whole = kept(logits, top_k=0, top_p=0.9)
    assert (whole.sum(-1) > 200).all()
    monkeypatch.setattr(choice, "FIRST_LOOK", 2)
    assert torch.equal(kept(logits, top_k=0, top_p=0.9), whole)


@given(ROWS, st.floats(0.0, 1.0, exclude_max=True), st.floats(0.05, 5.0), st.integers(0, 5), st.floats(0.1, 1.0))
def test_a_drawn_token_is_one_of_those_kept(
    logits: list[float], uniform: float, temperature: float, top_k: int, top_p: float
) -> None:
    options = SampleOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    row = torch.tensor([logits])
    token = int(choose(row, [uniform], options)[0])
    assert kept((row - row.amax()) / temperature, top_k=top_k, top_p=top_p)[0, token]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    generator, draws = random.Random(7), 20_000
    options = SampleOptions(temperature=temperature)
    tokens, _ = choose(logits.expand(draws, 5), [generator.random() for _ in range(draws)], options)
    wanted = (logits / temperature).softmax(0).double() * draws
    assert chisquare(torch.bincount(tokens, minlength=5), wanted / wanted.sum() * draws).pvalue > 0.01


def test_draws_within_a_nucleus_follow_its_renormalised_distribution() -> None:
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0, -4.0])
    generator, draws = random.Random(3), 20_000
    options = SampleOptions(temperature=1.0, top_k=4, top_p=0.9)
    tokens, _ = choose(logits.expand(draws, 5), [generator.random() for _ in range(draws)], options)
    counts = torch.bincount(tokens, minlength=5)
    wanted = logits[:3].softmax(0).double() * draws
    assert counts[3:].sum() == 0
    assert chisquare(counts[:3], wanted / wanted.sum() * draws).pvalue > 0.01


def test_log_probabilities_are_those_of_the_unmodified_distribution() -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    for options in (
        SampleOptions(),
        SampleOptions(temperature=0.3, top_k=2),
        SampleOptions(temperature=3.0, top_p=0.5),
    ):
        tokens, logprobs = choose(logits, [0.1, 0.4, 0.6, 0.9], options)
        torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0])


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    logits = torch.zeros(1, 1000)
    logits[0, [17, 400, 999]] = 2.0
    assert choose(logits, [0.99], SampleOptions())[0].tolist() == [17]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("options", [SampleOptions(), SampleOptions(temperature=1.0, top_p=0.9)])
def test_only_the_broken_row_is_marked(broken: float, options: SampleOptions) -> None:
    logits = torch.zeros(3, 5)
    logits[1, 2] = broken
    assert choose(logits, [0.5] * 3, options)[1].isfinite().tolist() == [True, False, True]


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]])
    tokens = [int(choose(logits, [i / 100], SampleOptions(temperature=1.0))[0]) for i in range(100)]
    assert set(tokens) == {1, 3}
    assert tokens.count(1) == 50


@pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1, 63, 512, 1300])
def test_the_kernel_chooses_as_the_generic_path(dtype: torch.dtype, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(40, vocabulary, generator=generator) * 3).to(dtype)
    uniforms = [0.0, *torch.rand(39, generator=generator, dtype=torch.float64).tolist()]
    for temperature in (0.0, 0.3, 1.0, 2.0):
        options = SampleOptions(temperature=temperature)
        token, logprob = choose(logits, uniforms, options)
        wanted_token, wanted_logprob = choose(logits.double(), uniforms, options)
        assert torch.equal(token, wanted_token)
        torch.testing.assert_close(logprob, wanted_logprob.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_uniform_number_draws_a_token_with_weight(dtype: torch.dtype) -> None:
    logits = torch.full((1, 1300), -torch.inf)
    logits[0, [3, 700, 701]] = torch.tensor([0.1, 0.7, 0.3])
    token, logprob = choose(logits.to(dtype), [1 - 2**-53], SampleOptions(temperature=0.7))
    assert token.tolist() == [701]
    assert logprob.isfinite().all()
