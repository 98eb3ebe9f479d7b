"""The planner against PyTorch's memory tracker over fake tensors: peaks of models that no machine here could hold.

Weights, adapter, optimizer and operations are the real ones, their tensors have sizes but no numbers. What is counted
is what a GPU would hold beside its context; attention is computed the fused way, which keeps no scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etude.models.options import Held
from etude.techniques.base import Technique
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.qlora import QLoRA

SIZES: dict[str, dict[str, Any]] = {
    "1B": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
    },
    "7B": {
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32_000,
    },
    "13B": {
        "hidden_size": 5120,
        "intermediate_size": 13_824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "vocab_size": 32_000,
    },
    "70B": {
        "hidden_size": 8192,
        "intermediate_size": 28_672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 32_000,
    },
}
"""Of Llama models (https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2307.09288, Llama 3.2)."""


@dataclass(frozen=True)
class Trial:
    size: str
    technique: str
    tokens: int
    recompute: bool
    layers: int | None = None
    """Tracked with so many layers and with half as many, and continued to all along a straight line: each further layer
    holds as much as the last one. None: with all."""


TRIALS = (
    Trial("1B", "lora", 512, False),
    Trial("1B", "lora", 2048, False),
    Trial("1B", "lora", 2048, True),
    Trial("1B", "full", 2048, True),
    Trial("7B", "lora", 2048, True),
    Trial("7B", "full", 2048, True),
    Trial("13B", "lora", 2048, True),
    Trial("1B", "qlora", 2048, True),
    Trial("1B", "qlora", 2048, True, layers=4),
    Trial("7B", "qlora", 2048, True, layers=4),
    Trial("13B", "qlora", 2048, True, layers=4),
    Trial("70B", "lora", 2048, True, layers=4),
    Trial("70B", "qlora", 512, True, layers=4),
    Trial("70B", "qlora", 2048, True, layers=4),
)
"""All layers of a large model in 4 bits would be a million fake operations."""
TECHNIQUES: dict[str, Technique] = {"lora": LoRA(), "full": Full(), "qlora": QLoRA()}
SITES = 64


def main() -> None:
    print("| model | technique | tokens | recomputed | layers tracked | predicted GB | tracked GB | error |")
    print("|---|---|---|---|---|---|---|---|")
    for trial in TRIALS:
        command = [sys.executable, "-m", "bench.planned_gpu", json.dumps(asdict(trial))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        found = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"| {trial.size} | {trial.technique} | {trial.tokens:,} | {'yes' if trial.recompute else 'no'} "
            f"| {f'{trial.layers // 2}, {trial.layers}' if trial.layers else 'all'} "
            f"| {found['predicted']:.2f} | {found['tracked']:.2f} | {found['predicted'] / found['tracked'] - 1:+.1%} |",
            flush=True,
        )


def tracked(trial: Trial) -> dict[str, float]:
    """Gigabytes of the second update (the first one makes the optimizer's state), foreseen and counted."""
    import transformers

    from etude.planning.memory import PROCESS_BYTES, Work, memory_of
    from etude.planning.shape import outline, shape_of

    config = transformers.LlamaConfig(**SIZES[trial.size])
    technique = TECHNIQUES[trial.technique]
    if trial.layers is None:
        trainable, peak = _track(config, technique, trial)
    else:
        trainable, peak = _continued(config, technique, trial, trial.layers)
    full = isinstance(technique, Full)
    work = Work(
        where="gpu",
        held=technique.base_held_as,
        trainable=trainable,
        in_place=full,
        ranks=0 if full else 7 * 16,
        tokens=trial.tokens,
        sites=SITES,
        recompute=trial.recompute,
        keeps_best=False,
        fused=False,
    )
    predicted = memory_of(shape_of(outline(config), name=trial.size), work).peak - PROCESS_BYTES["gpu"]
    return {"predicted": predicted / 1e9, "tracked": peak / 1e9}


def _continued(config: Any, technique: Technique, trial: Trial, layers: int) -> tuple[int, int]:
    """What `_track` would give with all layers, from two short models."""
    (few, less), (many, more) = (
        _track(type(config)(**{**SIZES[trial.size], "num_hidden_layers": one}), technique, trial)
        for one in (layers // 2, layers)
    )
    further = (config.num_hidden_layers - layers) / (layers - layers // 2)
    return round(many + further * (many - few)), round(more + further * (more - less))


def _track(config: Any, technique: Technique, trial: Trial) -> tuple[int, int]:
    import torch
    import transformers
    from torch._subclasses.fake_tensor import FakeTensorMode

    from etude.models import kernels, quantize
    from etude.models.loaded import LoadedModel
    from etude.techniques.policy import attach
    from etude.training.optimizer import MasterAdamW
    from etude.training.options import TrainOptions

    warnings.simplefilter("ignore")
    kernels.computes = lambda *_: False  # as on a GPU
    quantize.dynamic_levels()  # numbers that are looked at: they cannot be made among fake ones
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_dtype(torch.bfloat16)
        module = transformers.LlamaForCausalLM(config).requires_grad_(False)
        torch.set_default_dtype(torch.float32)
        if technique.base_held_as is not None:
            _round(module, technique.base_held_as)
        policy = attach(technique, LoadedModel("fake", module, None, Path("/"), "", "tree"))  # type: ignore[arg-type]
        if trial.recompute:
            module.gradient_checkpointing_enable({"use_reentrant": False})
            module.train()
        _hide_frozen(module)
        optimizer = MasterAdamW(policy.trainable, TrainOptions())
        tracker = _tracker()
        masters = [one for name, one in optimizer.masters.items() if one is not policy.trainable[name]]
        tracker.track_external(module, *masters)
        with tracker:
            for update in range(2):
                if update:
                    tracker.reset_mod_stats()
                tokens = torch.zeros(1, trial.tokens, dtype=torch.long)
                hidden = module.model(input_ids=tokens, use_cache=False).last_hidden_state[0, -SITES:]
                module.lm_head(hidden).float().logsumexp(-1).sum().backward()
                optimizer.step(learning_rate=1e-4, gradient_scale=0.5)
        found = tracker.get_tracker_snapshot("peak")
    return policy.num_trainable, max(place["Total"] for place in found.values())


def _tracker() -> Any:
    """PyTorch's tracker, without the peaks of single modules: for these it walks all modules at every operation, which
    makes its time grow with the square of the layers."""
    from torch.distributed._tools.mem_tracker import MemTracker

    class WholePeak(MemTracker):
        def _update_peak_stats(self, peak_state: Any) -> None:
            self.memory_tracking, kept = {}, self.memory_tracking
            super()._update_peak_stats(peak_state)
            self.memory_tracking = kept

    return WholePeak()


def _round(module: Any, held: Held) -> None:
    """The linear layers but the head as a load with `held` would leave them."""
    import torch

    from etude.models.layers.held import HeldLinear

    head = module.get_output_embeddings()
    named = [(name, one) for name, one in module.named_modules() if type(one) is torch.nn.Linear and one is not head]
    for name, one in named:
        module.set_submodule(name, HeldLinear(one.weight, one.bias, held=held, dtype=one.weight.dtype))


def _hide_frozen(module: Any) -> None:
    """The tracker hangs hooks on the gradients of all parameters: those without one become buffers, as large."""
    for one in module.modules():
        for name, weight in list(one._parameters.items()):
            if weight is not None and not weight.requires_grad:
                del one._parameters[name]
                one.register_buffer(name, weight.data)


if __name__ == "__main__":
    print(json.dumps(tracked(Trial(**json.loads(sys.argv[1])))))
