"""What is measured against which peer, each at the fastest settings found for it (`python -m bench settings`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOMY_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps freed memory instead of giving it back to the system and faulting it in again every step."""

CPU = Path("/proc/cpuinfo")
BFLOAT16 = not CPU.exists() or "bf16" in CPU.read_text(encoding="utf-8")
"""Whether the processor multiplies bfloat16; where it does not, float32 is fastest on both sides."""

TRL: Mapping[str, Any] = {
    "dtype": "bfloat16" if BFLOAT16 else "float32",
    "autocast": BFLOAT16,
    "attention": "eager",
    "head": "model",
    "padding_free": False,
    "pad_to_multiple_of": None,
    "samples_per_pass": None,
    "gradient_checkpointing": False,
    "compile": False,
    "order": "sequential",
}
"""TRL at its fastest here; `head: model` is the model's own loss, `trl` the chunked head that TRL puts in its place."""

Environment = Literal["trl", "llamafactory"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the published table: the same rows, batch, precision and learning rate on both sides."""

    name: str
    says: str
    source: str
    """Where the rows come from, by its name in `bench.ours.rows`."""
    samples_per_step: int
    steps: int
    warm: int
    """Updates left out of the steady figures: matrix products are compiled for each new shape."""
    length: int | None = None
    technique: Literal["lora", "full"] = "lora"
    objective: Literal["sft", "dpo", "grpo", "reward", "ppo"] = "sft"
    learning_rate: float = 2e-4
    ours: str = "bench.ours.training"
    ours_settings: Mapping[str, Any] = field(default_factory=dict)
    peer: str = "bench.peers.trl_sft"
    peer_name: str = "TRL"
    environment: Environment = "trl"
    settings: Mapping[str, Any] = field(default_factory=lambda: TRL)
    variables: Mapping[str, str] = field(default_factory=lambda: ROOMY_HEAP)
    """Environment variables of the peer's process."""


LORA = Case(
    name="lora",
    says="LoRA on BANKING77, batch 16",
    source="banking77",
    samples_per_step=16,
    steps=20,
    warm=6,
)
TEXT = Case(
    name="text",
    says="LoRA on plain text with nothing shared, every token learned (wikitext2 paragraphs, batch 16)",
    source="wikitext2",
    samples_per_step=16,
    steps=12,
    warm=4,
    settings={**TRL, "samples_per_pass": 4},
)
FULL = Case(
    name="full",
    says="full fine-tuning on BANKING77, batch 16",
    source="banking77",
    samples_per_step=16,
    steps=20,
    warm=6,
    technique="full",
    learning_rate=2e-5,
    settings={**TRL, "autocast": False},
)
DPO = Case(
    name="dpo",
    says="DPO with LoRA on hh_rlhf_harmless, 8 pairs",
    source="harmless",
    samples_per_step=8,
    steps=12,
    warm=4,
    objective="dpo",
    learning_rate=5e-5,
    peer="bench.peers.trl_dpo",
    settings={**TRL, "head": "trl", "samples_per_pass": 1},
)
GRPO = Case(
    name="grpo",
    says="the update of GRPO with LoRA: 4 prompts of self-instruct, 8 given answers each",
    source="groups",
    samples_per_step=4,
    steps=10,
    warm=4,
    objective="grpo",
    learning_rate=1e-5,
    peer="bench.peers.trl_grpo",
    settings={**TRL, "head": "trl", "samples_per_pass": 1},
)
REWARD = Case(
    name="reward",
    says="a reward model with LoRA on hh_rlhf_harmless, 8 pairs",
    source="harmless",
    samples_per_step=8,
    steps=12,
    warm=4,
    objective="reward",
    learning_rate=5e-5,
    peer="bench.peers.trl_reward",
    settings={**TRL, "samples_per_pass": 1},
)
PPO = Case(
    name="ppo",
    says="an iteration of PPO (4 prompts of self-instruct, 4 answers of 64 tokens each, a critic, one update) against "
    "one of TRL's RLOO, which has no critic: TRL has no PPO any more; its rows are prompts",
    source="prompts",
    samples_per_step=4,
    steps=6,
    warm=2,
    objective="ppo",
    learning_rate=1e-5,
    ours="bench.ours.ppo",
    peer="bench.peers.trl_rloo",
    peer_name="TRL (RLOO)",
)
LLAMAFACTORY = Case(
    name="llamafactory",
    says="LoRA on BANKING77, batch 16, against LLaMA-Factory",
    source="banking77",
    samples_per_step=16,
    steps=20,
    warm=6,
    peer="bench.peers.llamafactory_sft",
    peer_name="LLaMA-Factory",
    environment="llamafactory",
    settings={"attention": "disabled", "samples_per_pass": None, "gradient_checkpointing": False},
)
GENERATE: Mapping[str, Any] = {"dtype": TRL["dtype"], "attention": "sdpa", "cache": "static"}
SAMPLE_32 = Case(
    name="sample-32",
    says="64 new tokens for each of 32 prompts, greedy",
    source="prompts",
    samples_per_step=32,
    steps=4,
    warm=1,
    ours="bench.ours.sampling",
    peer="bench.peers.generate",
    peer_name="transformers generate",
    settings=GENERATE,
)
SAMPLE_1 = Case(
    name="sample-1",
    says="64 new tokens for one prompt at a time, greedy",
    source="prompts",
    samples_per_step=1,
    steps=8,
    warm=2,
    ours="bench.ours.sampling",
    peer="bench.peers.generate",
    peer_name="transformers generate",
    settings=GENERATE,
)
AGREEMENT = Case(
    name="agreement",
    says="the first losses in float32: whether both sides compute the same",
    source="banking77",
    samples_per_step=16,
    steps=4,
    warm=1,
    learning_rate=1e-3,
    ours_settings={"precision": "float32"},
    settings={**TRL, "dtype": "float32", "autocast": False},
)

PAIRED = (LORA, TEXT, FULL, DPO, GRPO, REWARD, PPO, LLAMAFACTORY, SAMPLE_32, SAMPLE_1, AGREEMENT)


def long_case(length: int) -> Case:
    """One row of so many tokens an update."""
    return Case(
        name=f"long-{length}",
        says=f"LoRA on one row of {length:,} tokens",
        source="long",
        length=length,
        samples_per_step=1,
        steps=3 if length >= 4096 else 6,
        warm=1 if length >= 4096 else 3,
        settings={**TRL, "attention": "sdpa", "gradient_checkpointing": length >= 4096},
    )
