"""What this machine does in a second, measured once for some seconds and remembered."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from etude import durable
from etude.planning.memory import Work
from etude.planning.shape import shape_of
from etude.planning.time import Amount, operations

MOST_SECONDS = 6.0
FEWEST_SECONDS = 1.0
SETTLED = 4
"""Passes without a faster one, after which the fastest is believed."""
FASTER = 0.98
"""Of a pass's time: less than so much of it counts as faster."""
TOKENS = 512
SIZES = {
    "vocab_size": 8192, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 2048,
}  # fmt: skip
"""A random model of the embedded one's width, six layers of it."""


def operations_per_second(folder: Path, *, precision: str) -> float:
    """Of training an adapter; measured the first time on this processor with so many threads, then read."""
    known = known_operations_per_second(folder, precision=precision)
    return remember(folder, _measured(precision), precision=precision) if known is None else known


def known_operations_per_second(folder: Path, *, precision: str) -> float | None:
    """What was measured here earlier."""
    try:
        written = json.loads(_file(folder, _machine(precision)).read_text(encoding="utf-8"))
        return float(written["operations_per_second"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(folder: Path, found: float, *, precision: str) -> float:
    """Keeps a measurement for later plans, and hands it back."""
    words = _machine(precision)
    durable.make_directory(folder, exist_ok=True)
    durable.write_json(_file(folder, words), {"machine": words, "operations_per_second": found})
    return found


def _machine(precision: str) -> str:
    import torch

    return f"{platform.machine()} {_processor()} {torch.get_num_threads()} {precision}"


def _file(folder: Path, machine: str) -> Path:
    return folder / f"calibration-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"


def _measured(precision: str) -> float:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from etude.batch import Sample, TokenRow
    from etude.models import fused
    from etude.models.attention import follow
    from etude.models.loaded import Way
    from etude.models.scoring import score
    from etude.packing import pack

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = (
            LlamaForCausalLM(LlamaConfig.from_dict({**SIZES, "tie_word_embeddings": True})).eval().requires_grad_(False)
        )
    module = module.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    follow(module)
    way: Way = "fused" if fused.prepare(module) else "tree"
    module.get_input_embeddings().weight.requires_grad_(True)
    row = TokenRow(tuple(range(5, TOKENS + 5)), (0.0, *[1.0] * (TOKENS - 1)))
    batch = pack([Sample("0", (row,))])
    shape = shape_of(module, name="calibration")
    work = Work(trainable=0, tokens=TOKENS, sites=TOKENS - 1)
    each = operations(shape, work, Amount(tokens=TOKENS, sites=TOKENS - 1, context=TOKENS / 2))

    def a_pass() -> float:
        begun = time.perf_counter()
        score(module, batch, way=way).sum().backward()
        return time.perf_counter() - begun

    return each / _fastest(a_pass)


def _fastest(measure: Callable[[], float]) -> float:
    """Of as many measurements as it takes until none is faster."""
    started, best, since = time.perf_counter(), float("inf"), 0
    while (elapsed := time.perf_counter() - started) < MOST_SECONDS:
        if since >= SETTLED and elapsed >= FEWEST_SECONDS:
            break
        found = measure()
        since = 0 if found < FASTER * best else since + 1
        best = min(best, found)
    return best


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith("model name")), "") + f" {os.cpu_count()}"
