"""The compiled way of decoding against transformers' own layers: every kind of model, prompt tree and page."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from etude.batch import TokenRow
from etude.models import fused, kernels
from etude.models.loaded import LoadedModel
from etude.models.paged import PAGE, PagedModel
from etude.models.scoring import score_rows
from etude.sampling import paged
from etude.sampling.decoder import decoder_for
from etude.sampling.options import SampleOptions
from etude.sampling.padded import PaddedDecoder
from etude.sampling.paged import PagedDecoder
from etude.sampling.pages import PagePool
from etude.sampling.sampler import sample
from etude.techniques.lora import LoRA
from tests.models.test_fused import CONFIGS
from tests.sampling.test_sampler import NOTHING, assert_same, generated
from tests.toy import toy_loaded, toy_tokenizer

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="no C compiler on this machine")
SIZES = {"vocab_size": 97, "num_hidden_layers": 2, "max_position_embeddings": 512}
ODD = T.LlamaConfig(**SIZES, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2)
EVEN = T.LlamaConfig(**SIZES, hidden_size=192, intermediate_size=96, num_attention_heads=6, num_key_value_heads=2)
"""Sizes that whole tiles divide, and sizes that they do not."""
LONG = SampleOptions(max_new_tokens=2 * PAGE + 5)


def model_of(config: T.PreTrainedConfig, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """A random model whose predictions are sharp enough that rounding does not decide."""
    torch.manual_seed(0)
    module = T.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, 0.2)
        else:
            parameter += torch.randn_like(parameter) * 0.2
    module.to(dtype)
    assert fused.prepare(module)
    return LoadedModel("random", module, toy_tokenizer(), Path("random"), "random", "fused")


def draw(length: int, seed: object, vocabulary: int = 97) -> tuple[int, ...]:
    generator = random.Random(str(seed))
    return tuple(generator.randrange(5, vocabulary) for _ in range(length))


def related_prompts() -> list[tuple[int, ...]]:
    """Nested common beginnings, equal prompts, prompts that begin others, and one that stands apart."""
    root, branch = draw(40, "root"), draw(PAGE, "branch")
    rows = [root + draw(n, n) for n in (1, 7, 30)]
    rows += [root + branch, root + branch + draw(3, "a"), root + branch + draw(25, "b"), root + branch + draw(3, "a")]
    return [*rows, root[:PAGE], draw(4, "apart")]


def same_as_padded(model: LoadedModel, prompts: Sequence[tuple[int, ...]], options: SampleOptions) -> None:
    found = sample(model, prompts, options, end_ids=NOTHING)
    assert_same(found, sample(replace(model, way="tree"), prompts, options, end_ids=NOTHING))


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_equals_transformers_generate(name: str) -> None:
    model = model_of(CONFIGS[name])
    prompts = [draw(n, n) for n in (1, 31, 32, 40)]
    found = sample(model, prompts, SampleOptions(max_new_tokens=PAGE + 3), end_ids=NOTHING)
    for prompt, answer in zip(prompts, found, strict=True):
        assert list(answer.tokens) == generated(model, prompt, PAGE + 3)


@pytest.mark.parametrize("config", [ODD, EVEN], ids=["odd", "even"])
@pytest.mark.parametrize("batch_rows", [1, 4, 32])
def test_related_prompts_answer_as_in_padded_rows(config: T.PreTrainedConfig, batch_rows: int) -> None:
    same_as_padded(model_of(config), related_prompts(), replace(LONG, batch_rows=batch_rows))


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=7), st.integers(1, 20))
def test_any_tree_of_prompts_answers_as_in_padded_rows(paths: list[list[int]], piece: int) -> None:
    prompts = [sum((draw(piece, step) for step in path), ()) for path in paths]
    same_as_padded(toy_loaded(), prompts, SampleOptions(max_new_tokens=PAGE, temperature=0.8, seed=1))


@pytest.mark.parametrize("config", [ODD, EVEN], ids=["odd", "even"])
def test_bfloat16_agrees_within_its_rounding(config: T.PreTrainedConfig) -> None:
    exact_model, model = model_of(config), model_of(config, torch.bfloat16)
    prompts, answer = related_prompts()[:5], draw(LONG.max_new_tokens, "answer")
    exact, plain = (whole_vocabulary(one, prompts, answer) for one in (exact_model, model))
    decoder = decoder_for(model, prompts, len(answer))
    assert isinstance(decoder, PagedDecoder)
    with torch.inference_mode():
        logits = decoder.start(prompts, len(answer))
        for token in answer:
            logits = decoder.step(torch.full((len(prompts),), token))
    error, plain_error = ((one.float().log_softmax(-1) - exact).abs() for one in (logits, plain))
    assert error.mean() < 1.5 * plain_error.mean()
    assert error.max() < 2 * plain_error.max()


def whole_vocabulary(model: LoadedModel, prompts: Sequence[tuple[int, ...]], answer: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        rows = [model.module(torch.tensor([prompt + answer]), use_cache=False).logits[0, -1] for prompt in prompts]
    return torch.stack(rows).float().log_softmax(-1)


def test_log_probabilities_equal_scoring() -> None:
    exact, rounded = model_of(EVEN), model_of(EVEN, torch.bfloat16)
    assert (sampled_and_scored(exact, exact)[0] - sampled_and_scored(exact, exact)[1]).abs().max() < 1e-4
    sampled, scored, truth = *sampled_and_scored(rounded, rounded), sampled_and_scored(rounded, exact)[1]
    assert (sampled - scored).abs().mean() < 1.5 * (scored - truth).abs().mean()


def sampled_and_scored(model: LoadedModel, judge: LoadedModel) -> tuple[Tensor, Tensor]:
    """Log-probabilities of drawn answers, as the sampler gives them and as another model's scoring does."""
    prompts = related_prompts()
    found = sample(model, prompts, replace(LONG, temperature=1.0, seed=3), end_ids=NOTHING)
    rows = [(*prompt, *answer.tokens) for prompt, answer in zip(prompts, found, strict=True)]
    scored = score_rows(judge, [TokenRow(row, (0.0,) + (1.0,) * (len(row) - 1)) for row in rows])
    of_answers = [score[len(prompt) - 1 :] for prompt, score in zip(prompts, scored, strict=True)]
    return torch.tensor([one for answer in found for one in answer.logprobs]), torch.cat(of_answers)


@pytest.mark.parametrize("targets", [("all-linear",), ("q_proj", "v_proj"), ("o_proj", "up_proj")])
@pytest.mark.parametrize("config", [ODD, EVEN], ids=["odd", "even"])
def test_adapters_are_part_of_the_products(config: T.PreTrainedConfig, targets: tuple[str, ...]) -> None:
    model = model_of(config)
    plain = sample(model, related_prompts(), LONG, end_ids=NOTHING)
    technique = LoRA(rank=3, alpha=5, targets=targets)
    for number, parameter in enumerate(technique.attach(model, seed=0).values()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.1
    same_as_padded(model, related_prompts(), LONG)
    assert [a.tokens for a in sample(model, related_prompts(), LONG, end_ids=NOTHING)] != [a.tokens for a in plain]
    with technique.without(model):
        assert_same(sample(model, related_prompts(), LONG, end_ids=NOTHING), plain)


def test_dropout_of_a_learning_adapter_does_not_act() -> None:
    model = toy_loaded()
    technique = LoRA(rank=2, dropout=0.5)
    technique.attach(model, seed=0)
    with technique.learning(model):
        same_as_padded(model, [draw(5, 0)], LONG)


def test_rows_that_leave_change_nothing_for_the_others() -> None:
    model, prompts = model_of(EVEN), [draw(n, n) for n in range(3, 36, 4)]
    free = sample(model, prompts, LONG, end_ids=NOTHING)
    ends = frozenset(answer.tokens[5 * i] for i, answer in enumerate(free))
    found = sample(model, prompts, LONG, end_ids=ends)
    assert len({len(answer.tokens) for answer in found}) > 3
    for cut, whole in zip(found, free, strict=True):
        assert cut.tokens == whole.tokens[: len(cut.tokens)]


def test_prompts_go_through_in_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(EVEN)
    whole = sample(model, related_prompts(), LONG, end_ids=NOTHING)
    monkeypatch.setattr(paged, "TOKENS_PER_PASS", 7)
    assert_same(sample(model, related_prompts(), LONG, end_ids=NOTHING), whole)


def test_pages_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[PagePool] = []

    class Noted(PagePool):
        def __init__(self, numbers: int, dtype: torch.dtype) -> None:
            super().__init__(numbers, dtype)
            pools.append(self)

    monkeypatch.setattr(paged, "PagePool", Noted)
    prompts, options = [draw(40, i) for i in range(8)], replace(LONG, batch_rows=2)
    sample(model_of(ODD), prompts[:2], options, end_ids=NOTHING)
    sample(model_of(ODD), prompts, options, end_ids=NOTHING)
    assert pools[0].num_pages == pools[1].num_pages == 2 * 4


def test_a_page_is_never_held_twice() -> None:
    pool = PagePool(8, torch.float32)
    first = pool.take(3)
    pool.give_back(first[:2])
    second = pool.take(4)
    assert len({*first[2:], *second}) == 5
    assert pool.num_pages == 5


@pytest.mark.parametrize("config", [ODD, EVEN], ids=["odd", "even"])
def test_numbers_that_are_none_stay_in_their_row(config: T.PreTrainedConfig) -> None:
    model = model_of(config, torch.bfloat16)
    model.module.get_input_embeddings().weight[7] = torch.nan
    prompts = [(5, 6, 9), (5, 6, 7)]
    with torch.inference_mode():
        decoder = decoder_for(model, prompts, 4)
        logits = [decoder.start(prompts, 4), decoder.step(torch.tensor([8, 8])), decoder.step(torch.tensor([8, 8]))]
    for one in logits:
        assert one[0].isfinite().all()
        assert one[1].isnan().all()


def unknown_models() -> dict[str, LoadedModel]:
    scaled = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    sizes = {**SIZES, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    models = {
        "window in reach": model_of(T.MistralConfig(**sizes, num_key_value_heads=2, sliding_window=30)),
        "rotation that grows": model_of(T.LlamaConfig(**sizes, rope_parameters=scaled)),
        "mixed precision": model_of(EVEN, torch.bfloat16),
        "a layer of its own": model_of(EVEN),
    }
    models["mixed precision"].module.model.norm.float()  # type: ignore[union-attr, operator]
    layer = models["a layer of its own"].module.model.layers[1].mlp  # type: ignore[union-attr, index]
    layer.down_proj = nn.Sequential(layer.down_proj)
    return models


def test_what_is_not_known_goes_another_way() -> None:
    for name, model in unknown_models().items():
        assert isinstance(decoder_for(model, [draw(20, 0)], 12), PaddedDecoder), name
    mistral = unknown_models()["window in reach"]
    assert isinstance(decoder_for(mistral, [draw(20, 0)], 10), PagedDecoder)
    assert PagedModel.of(mistral.module, 31) is None
