"""Each technique small enough for the toy model, with what its tests have in common."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.models.load import load
from etude.models.loaded import LoadedModel
from etude.models.options import ModelOptions, Precision
from etude.models.scoring import score
from etude.objectives.sft import SFT
from etude.packing import pack
from etude.techniques.adapter import Adapter
from etude.techniques.base import Technique
from etude.techniques.freeze import Freeze
from etude.techniques.full import Full
from etude.techniques.ia3 import IA3
from etude.techniques.lora import LoRA
from etude.techniques.p_tuning import PTuning
from etude.techniques.peft import PeftMethod
from etude.techniques.policy import Policy, attach
from etude.techniques.prefix import PrefixTuning
from etude.techniques.prompt import PromptTuning
from etude.techniques.qlora import QLoRA
from etude.techniques.sparse import Sparse
from etude.training.survey import TrainingSurvey

EVERY: dict[str, Technique] = {
    "full": Full(),
    "freeze last": Freeze(last=1),
    "freeze patterns": Freeze(patterns=(r"mlp\.down_proj",)),
    "freeze signal": Freeze(choose="signal", share=0.5),
    "freeze gradient": Freeze(choose="gradient", share=0.5),
    "lora": LoRA(rank=4),
    "lora rslora": LoRA(rank=4, rslora=True, targets=("q_proj", "v_proj")),
    "lora dora": LoRA(rank=4, dora=True),
    "lora plus": LoRA(rank=4, b_rate=16.0),
    "lora pissa": LoRA(rank=4, start="pissa"),
    "lora pissa rslora": LoRA(rank=4, start="pissa", rslora=True, targets=("q_proj", "down_proj")),
    "lora patterns": LoRA(rank=4, rank_pattern={"down_proj": 2, r"layers\.0\..*": 6}, alpha_pattern={"q_proj": 8.0}),
    "qlora nf4": QLoRA(rank=4, base_held_as="nf4"),
    "qlora": QLoRA(rank=4),
    "qlora int8": QLoRA(rank=4, base_held_as="int8"),
    "qlora dora": QLoRA(rank=4, dora=True),
    "adapter": Adapter(size=8),
    "adapter pfeiffer": Adapter(size=8, placement="pfeiffer", activation="relu"),
    "prompt": PromptTuning(tokens=4),
    "prompt text": PromptTuning(tokens=5, text="the quick brown fox"),
    "p-tuning": PTuning(tokens=4, hidden=16),
    "p-tuning lstm": PTuning(tokens=4, hidden=16, encoder="lstm"),
    "prefix": PrefixTuning(tokens=4, spread=0.5),
    "ia3": IA3(),
    "sparse fisher": Sparse(share=0.05, samples=4),
    "sparse gradient": Sparse(share=0.05, choose="gradient", samples=4),
    "sparse movement": Sparse(share=0.05, choose="movement", samples=4, targets=("down_proj",)),
    "sparse random": Sparse(share=0.05, choose="random"),
    "peft loha": PeftMethod(
        config={"peft_type": "LOHA", "r": 4, "alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    ),
    "peft oft": PeftMethod(config={"peft_type": "OFT", "oft_block_size": 8, "target_modules": ["q_proj", "v_proj"]}),
    "peft vera": PeftMethod(config={"peft_type": "VERA", "r": 8, "target_modules": ["q_proj", "v_proj"]}),
    "peft randlora": PeftMethod(config={"peft_type": "RANDLORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}),
    "peft norms": PeftMethod(config={"peft_type": "LN_TUNING", "target_modules": ["input_layernorm"]}),
}
STARTS_ELSEWHERE = ("prompt", "p-tuning", "prefix")
"""Virtual tokens change the answers from the start."""
NOT_LINEAR = ("adapter", "prompt", "p-tuning", "prefix")
"""Cannot be merged."""


def kind(name: str) -> str:
    return name.split()[0]


def rows(seed: int, count: int = 8) -> list[Sample]:
    """Short rows with a common beginning, so that there is something to share."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = 4 + number % 5
        tokens = [1, 40, 41, 42, 43, *torch.randint(3, 390, (length,), generator=generator).tolist()]
        found.append(Sample(str(number), (TokenRow(tuple(tokens), (0.0,) * 5 + (1.0,) * length),)))
    return found


def source(seed: int = 0, count: int = 8) -> OfflineBatches:
    return OfflineBatches(samples=rows(seed, count))


def loaded(base: Path, technique: Technique, *, precision: Precision = "float32") -> LoadedModel:
    return load(ModelOptions(name=str(base), precision=precision), held=technique.base_held_as)


def attached(base: Path, technique: Technique, *, seed: int = 0, precision: Precision = "float32") -> Policy:
    """The technique on a fresh base, given the rows that choosing ones want to see."""
    model = loaded(base, technique, precision=precision)
    survey = TrainingSurvey(model, technique, source(), SFT(), seed=0)
    return attach(technique, model, seed=seed, survey=survey)


def scores(model: LoadedModel, way: str | None = None) -> Tensor:
    """Log-probabilities of the rows' learned tokens."""
    with torch.no_grad():
        return score(model.module, pack(rows(1)), way=way or model.way)  # type: ignore[arg-type]


def moved(policy: Policy, by: float = 0.05) -> Policy:
    """The policy after something like an update of every weight that learns."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in policy.trainable.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=by)
    policy.settle()
    return policy
