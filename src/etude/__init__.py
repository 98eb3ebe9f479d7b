"""Etude: fine-tuning that shows its work.

model = etude.load("smollm2-135m-instruct")
policy = etude.attach(etude.LoRA(rank=16), model)
trained = etude.train(policy, etude.batches(etude.read("tickets.jsonl"), model), etude.SFT())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.comparison.verdict import Verdict, compare
    from etude.cycle.fine_tune import fine_tune
    from etude.cycle.subjects import open_subject
    from etude.data.batches import batches
    from etude.data.read import read
    from etude.data.split import split
    from etude.errors import EtudeError
    from etude.evaluation.harness import evaluate
    from etude.evaluation.report import Report
    from etude.models.load import load
    from etude.models.options import ModelOptions
    from etude.objectives.cpo import CPO
    from etude.objectives.dpo import DPO
    from etude.objectives.grpo import GRPO
    from etude.objectives.kto import KTO
    from etude.objectives.orpo import ORPO
    from etude.objectives.ppo import PPO
    from etude.objectives.reward import Reward
    from etude.objectives.sft import SFT
    from etude.objectives.simpo import SimPO
    from etude.records import Conversation, Message, Preference, Prompt, Text
    from etude.sampling.options import SampleOptions
    from etude.sampling.sampler import sample
    from etude.techniques.full import Full
    from etude.techniques.lora import LoRA
    from etude.techniques.policy import attach
    from etude.training.loop import train
    from etude.training.options import TrainOptions

_HOME = {
    "CPO": "objectives.cpo",
    "DPO": "objectives.dpo",
    "GRPO": "objectives.grpo",
    "KTO": "objectives.kto",
    "ORPO": "objectives.orpo",
    "PPO": "objectives.ppo",
    "Reward": "objectives.reward",
    "SimPO": "objectives.simpo",
    "SFT": "objectives.sft",
    "Conversation": "records",
    "EtudeError": "errors",
    "Full": "techniques.full",
    "LoRA": "techniques.lora",
    "Message": "records",
    "ModelOptions": "models.options",
    "Preference": "records",
    "Prompt": "records",
    "Report": "evaluation.report",
    "SampleOptions": "sampling.options",
    "Text": "records",
    "TrainOptions": "training.options",
    "Verdict": "comparison.verdict",
    "attach": "techniques.policy",
    "batches": "data.batches",
    "compare": "comparison.verdict",
    "evaluate": "evaluation.harness",
    "fine_tune": "cycle.fine_tune",
    "load": "models.load",
    "open_subject": "cycle.subjects",
    "read": "data.read",
    "sample": "sampling.sampler",
    "split": "data.split",
    "train": "training.loop",
}

__all__ = [
    "CPO",
    "DPO",
    "GRPO",
    "KTO",
    "ORPO",
    "PPO",
    "SFT",
    "Conversation",
    "EtudeError",
    "Full",
    "LoRA",
    "Message",
    "ModelOptions",
    "Preference",
    "Prompt",
    "Report",
    "Reward",
    "SampleOptions",
    "SimPO",
    "Text",
    "TrainOptions",
    "Verdict",
    "attach",
    "batches",
    "compare",
    "evaluate",
    "fine_tune",
    "load",
    "open_subject",
    "read",
    "sample",
    "split",
    "train",
]


def __getattr__(name: str) -> object:
    """Public names are imported when first used, so that `import etude` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'etude' has no attribute {name!r}")
    value: object = getattr(import_module(f"etude.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
