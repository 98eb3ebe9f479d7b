"""On a GPU: training tokens/s and the share of its arithmetic that they use, and that its kernels change no result.

Run as `python -m bench.gpu`. Models have random weights in the shapes of llama; rows are random tokens, so nothing is
downloaded. Without CUDA it says so and stops.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.models.attention import attention_set_to, follow
from etude.models.loaded import LoadedModel
from etude.models.scoring import score
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS = 12
WARM = 4
"""Steps before the clock counts: kernels are compiled in them."""
ROWS_PER_STEP = 32
ROW = 1024
SHARED = 512
"""Tokens that eight rows have in common where rows share."""
SHAPES: dict[str, dict[str, int]] = {
    "0.13B": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
              "num_key_value_heads": 3, "vocab_size": 49_152},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 128_256},
}  # fmt: skip
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 products a second, by the makers' data sheets."""


def main() -> int:
    """Prints two tables in Markdown."""
    if not torch.cuda.is_available():
        print("no CUDA on this machine: nothing measured")
        return 0
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}\n")
    print("| model, against eager rows | rows | dtype | largest difference, nats |\n|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for shares in (False, True):
            difference = _difference(dtype, shares=shares)
            print(f"| 0.13B | {_kind(shares)} | {dtype} | {difference:.2g} |")
    peak = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
    print("\n| model | technique | rows | tokens computed/s | MFU | peak GB |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        for technique in (LoRA(), Full()):
            for shares in (False, True):
                rate, flops, memory = _measure(shape, technique, shares=shares)
                share = "unknown GPU" if peak is None else f"{100 * rate * flops / peak:.1f} %"
                print(f"| {shape} | {technique.kind} | {_kind(shares)} | {rate:.0f} | {share} | {memory:.1f} |")
    return 0


def _kind(shares: bool) -> str:
    return "tree" if shares else "flat"


def _module(shape: str, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=4096, tie_word_embeddings=True)
    with torch.device("cuda"):
        module = LlamaForCausalLM(config).to(dtype)
    follow(module)
    return module.eval().requires_grad_(False)


def _samples(vocabulary: int, num_rows: int, *, row: int, shared: int) -> Iterator[Sample]:
    generator = torch.Generator().manual_seed(0)
    prefix: list[int] = []
    for i in range(num_rows):
        if i % 8 == 0:
            prefix = torch.randint(vocabulary, (shared,), generator=generator).tolist()
        tokens = prefix + torch.randint(vocabulary, (row - shared,), generator=generator).tolist()
        yield Sample(str(i), (TokenRow(tuple(tokens), (0.0, *[1.0] * (row - 1))),))


def _difference(dtype: torch.dtype, *, shares: bool) -> float:
    """Packed on the GPU's kernels against each row alone through transformers' eager attention."""
    module = _module("0.13B", dtype)
    samples = tuple(_samples(module.config.vocab_size, 8, row=300, shared=150 if shares else 0))
    with torch.no_grad():
        ours = score(module, pack(samples, share=shares).to("cuda"))
        with attention_set_to(module, "eager"):
            rows = [torch.tensor(sample.rows[0].tokens, device="cuda") for sample in samples]
            logits = [module(input_ids=row[None, :-1], use_cache=False).logits[0].float() for row in rows]
    plain = torch.cat(
        [one.log_softmax(-1).gather(1, row[1:, None])[:, 0] for one, row in zip(logits, rows, strict=True)]
    )
    return float((ours - plain).abs().max())


def _measure(shape: str, technique: LoRA | Full, *, shares: bool) -> tuple[float, float, float]:
    """Tokens computed a second, floating-point operations a token, peak gigabytes."""
    module = _module(shape, torch.bfloat16)
    model = LoadedModel(
        name=shape, module=module, tokenizer=cast("Any", None), folder=Path(shape), base_hash=shape, way="tree"
    )
    flops = _flops_per_token(module, learns_all=isinstance(technique, Full))
    torch.cuda.reset_peak_memory_stats()
    seen: list[Progress] = []
    samples = _samples(module.config.vocab_size, ROWS_PER_STEP * 2, row=ROW, shared=SHARED if shares else 0)
    train(
        attach(technique, model),
        OfflineBatches(samples=tuple(samples), share_prefixes=shares),
        SFT(),
        options=TrainOptions(steps=STEPS, batch_rows=ROWS_PER_STEP, learning_rate=1e-5),
        hooks=[lambda progress, _: seen.append(progress)],
    )
    rate = statistics.median(one.tokens_computed / one.seconds for one in seen[WARM:])
    return rate, flops, torch.cuda.max_memory_allocated() / 1e9


def _flops_per_token(module: PreTrainedModel, *, learns_all: bool) -> float:
    """Products of weights (2 a weight forwards, 2 back, 2 more where the weight learns) and of causal attention."""
    config = module.config
    weights = sum(one.numel() for one in module.parameters())  # the embedding, tied to the head, stands for the head
    attention = 6 * config.num_hidden_layers * config.hidden_size * ROW
    return (6 if learns_all else 4) * weights + attention


if __name__ == "__main__":
    sys.exit(main())
