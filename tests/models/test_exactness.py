"""Tree = flat = row by row = the model's own pass, log-probabilities and gradients; and what the probe decides."""

from __future__ import annotations

import pytest
import torch
import transformers as T
from torch import Tensor, nn

from etude.batch import Batch
from etude.errors import DataError, ModelError
from etude.models.asked import FAR, windows_of
from etude.models.attention import IMPLEMENTATION, attend, follow, follows
from etude.models.lengths import longest_row, packs_at_this_length
from etude.models.load import load
from etude.models.options import ModelOptions
from etude.models.probe import LONGEST_WINDOW, probe_batch, proven_way
from etude.models.scoring import score
from tests.models.families import MOE, PACKED, SIZES, UNPACKED, family
from tests.models.test_scoring import batch_of, plain_log_probabilities, some_rows

RESCALED = ("longrope", "dynamic")
WAYS = {"tree": {}, "flat": {"share": False}, "rows": {}}


def gradients(module: T.PreTrainedModel, of: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    (of * torch.linspace(0.5, 1.5, len(of))).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_exact(module: T.PreTrainedModel, rows: list[tuple[int, ...]], way: str, **packing: object) -> None:
    plain = plain_log_probabilities(module, rows)
    theirs = gradients(module, plain)
    scored = score(module, batch_of(rows, **packing), way=way)  # type: ignore[arg-type]
    ours = gradients(module, scored)
    assert (scored - plain).abs().max() < 1e-5
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() <= 1e-5 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_equals_the_models_own_pass(name: str, way: str) -> None:
    """Nested branches; rows of up to 39 tokens, windows of 6; `longrope` and `dynamic` turn rows above 33 otherwise."""
    assert_exact(family(name), some_rows(), "rows" if way == "rows" else "tree", **WAYS[way])


@pytest.mark.parametrize("name", PACKED)
def test_the_probe_packs_what_packs(name: str, caplog: pytest.LogCaptureFixture) -> None:
    module = family(name)
    assert proven_way(module, where=name) in ("tree", "fused")
    assert follows(module)
    assert "cannot be packed" not in caplog.text


@pytest.mark.parametrize("name", UNPACKED)
def test_what_cannot_be_packed_goes_row_by_row_and_says_so(name: str, caplog: pytest.LogCaptureFixture) -> None:
    module, why = family(name), UNPACKED[name][1]
    assert proven_way(module, where="here") == "rows"
    assert not follows(module), "it attends in its own way from then on"
    said = [record.getMessage() for record in caplog.records if record.name == "etude.models.probe"]
    assert len(said) == 1
    assert said[0].startswith("here cannot be packed (")
    assert why in said[0]
    assert_exact(module, some_rows(), "rows")


@pytest.mark.parametrize("name", RESCALED)
def test_short_rows_share_a_pass_whatever_was_read_before(name: str) -> None:
    module = family(name)
    long, short = some_rows(), [row[:20] for row in some_rows()]
    assert not packs_at_this_length(module, batch_of(long))
    assert packs_at_this_length(module, batch_of(short))
    expected = plain_log_probabilities(module, short)
    for _ in range(2):
        assert (score(module, batch_of(short)) - expected).abs().max() < 1e-5
        score(module, batch_of(long))


def test_a_row_longer_than_the_table_of_positions_is_an_error_in_words() -> None:
    row = tuple(range(3, 93)) * 2
    with pytest.raises(DataError, match="a row has 179 tokens and the model positions for 128"):
        score(family("gpt2"), batch_of([row]))
    assert len(score(family("llama"), batch_of([row]))) == 179


def test_a_model_that_looks_ahead_is_refused() -> None:
    torch.manual_seed(0)
    config = T.BertConfig(**{**SIZES, "is_decoder": False})
    module = T.AutoModelForCausalLM.from_config(config).eval()
    follow(module)
    with pytest.raises(ModelError, match="depend on the tokens that follow"):
        proven_way(module, where="bert")


@pytest.mark.parametrize("window", [20, LONGEST_WINDOW, 4096])
@pytest.mark.parametrize("lies", [None, 5000])
def test_a_layer_that_names_another_window_than_its_mask_is_not_packed(
    window: int, lies: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the window is longer than any row of the probe."""
    sizes = {**SIZES, "max_position_embeddings": 8192}
    config = T.Qwen2Config(**sizes, use_sliding_window=True, sliding_window=window, max_window_layers=1)
    torch.manual_seed(0)
    module = T.AutoModelForCausalLM.from_config(config).eval()
    follow(module)
    assert windows_of(module) == {None, window}
    module.base_model.layers[2].self_attn.sliding_window = lies
    assert proven_way(module, where="liar") == "rows"
    assert f"a mask that shows {window} tokens where its window is {lies}" in caplog.text


def test_windows_are_read_off_the_masks() -> None:
    assert windows_of(family("llama")) == {None}
    assert windows_of(family("mistral")) == {6}
    assert windows_of(family("gemma2")) == {None, 6}
    torch.manual_seed(0)
    endless = T.AutoModelForCausalLM.from_config(T.MistralConfig(**SIZES, sliding_window=FAR + 1))
    follow(endless)
    assert windows_of(endless) == {None}


def test_chunks_are_no_window() -> None:
    config = T.Llama4TextConfig(
        **MOE, head_dim=16, intermediate_size_mlp=96, attention_chunk_size=7, interleave_moe_layer_step=1
    )
    module = T.AutoModelForCausalLM.from_config(config).eval()
    follow(module)
    with pytest.raises(ModelError, match="no causal window"):
        windows_of(module)
    with pytest.raises(ModelError, match="cannot be asked without its head"):
        proven_way(module, where="llama4")


def test_a_setting_that_attention_would_ignore_is_refused() -> None:
    q = k = v = torch.randn(1, 4, 5, 8)
    for name, value in [
        ("s_aux", torch.zeros(4)), ("position_bias", torch.zeros(1, 4, 5, 5)), ("dropout", 0.1), ("is_causal", False),
        ("indices", torch.zeros(1)), ("something_new", 3),
    ]:  # fmt: skip
        with pytest.raises(ModelError, match=f"Identity attends with {name}"):
            attend(nn.Identity(), q, k, v, None, **{name: value})
    attend(nn.Identity(), q, k, v, None, s_aux=None, is_causal=True, position_ids=torch.arange(5))


def test_a_mask_that_is_not_transformers_is_not_packed(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that attends with another mask than the one asked for, even an equal one."""
    module = family("llama")

    def replace(layer: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Tensor | None]) -> object:
        mask = named["attention_mask"]
        return arguments, {**named, "attention_mask": None if mask is None else mask.clone()}

    module.base_model.layers[1].register_forward_pre_hook(replace, with_kwargs=True)
    assert proven_way(module, where="own mask") == "rows"
    assert "a mask of its own" in caplog.text


def test_probe_batch_looks_beyond_a_window_and_has_a_nested_branch() -> None:
    for beyond in (0, 6, 20, 128):
        batch = probe_batch(100, beyond=beyond)
        parents = [batch.segments[one.parent].parent for one in batch.segments if one.parent >= 0]
        assert len([one for one in parents if one >= 0]) == 2
        assert longest_row(batch) > beyond + 8
    assert len(probe_batch(100).tokens_T) < 64, "loading a model must not take longer for it"


def test_longest_row_is_the_deepest_path() -> None:
    batch: Batch = batch_of(some_rows(), min_shared=2)
    assert longest_row(batch) == int(batch.position_T.max()) + 1


@pytest.mark.model
def test_the_probe_of_the_base_model_is_small() -> None:
    """Each load waits for it."""
    module, read = load(ModelOptions(name="smollm2-135m-instruct", precision="float32")).module, []
    module.get_input_embeddings().register_forward_hook(lambda _, ids, __: read.append(ids[0].numel()))
    module.set_attn_implementation(IMPLEMENTATION)
    proven_way(module, where="base")
    assert sum(read) < 256
