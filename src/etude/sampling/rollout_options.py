"""How answers to learn from are written and rewarded."""

from __future__ import annotations

from dataclasses import dataclass

from etude.endpoints.options import VllmOptions
from etude.sampling.rewards.options import RewardOptions


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """For objectives that learn from what the model itself writes."""

    rewards: tuple[RewardOptions, ...] = ()
    """The terms of the reward, added up."""
    group: int = 8
    """Answers to each prompt; an update learns from training.batch_rows answers."""
    max_new_tokens: int = 128
    """Longest answer."""
    temperature: float = 1.0
    """Of the draw; log-probabilities are always those at 1."""
    top_p: float = 1.0
    """Nucleus of the draw."""
    batch_rows: int = 64
    """Answers written at once."""
    updates: int = 1
    """Updates on each batch of answers; after the first one the ratio to the policy that wrote them counts."""
    redraw: int = 0
    """Up to so many times, prompts whose answers all got the same reward are replaced by others (dynamic sampling,
    https://arxiv.org/abs/2503.14476)."""
    learn_unfinished: bool = True
    """Whether answers that were cut at max_new_tokens are learned from."""
    vllm: VllmOptions | None = None
    """A running `vllm serve` that writes the answers, the policy pushed to it as an adapter; null: they are written
    here."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range or in conflict."""
        found: list[tuple[str, str]] = []
        for name, low in {"group": 2, "max_new_tokens": 1, "batch_rows": 1, "updates": 1, "redraw": 0}.items():
            if getattr(self, name) < low:
                found.append((name, f"must be at least {low}, got {getattr(self, name)}"))
        if self.temperature <= 0:
            found.append(("temperature", f"must be above 0, or all answers are the same; got {self.temperature:g}"))
        if not 0 < self.top_p <= 1:
            found.append(("top_p", f"must be above 0 and at most 1, got {self.top_p:g}"))
        if self.vllm is not None:
            found += [(f"vllm.{setting}", says) for setting, says in self.vllm.problems()]
        for place, reward in enumerate(self.rewards):
            found += [(f"rewards.{place}.{setting}", says) for setting, says in reward.problems()]
        return found
