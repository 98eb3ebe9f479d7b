"""Etude's whole iteration of PPO: answers, rewards, old and reference scores, values and credits, one update."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bench.measured import Measured, read_job
from bench.rewarded import GROUP, MAX_NEW_TOKENS, reward
from etude.data.render import Renderer
from etude.models.load import load
from etude.objectives.ppo import PPO
from etude.sampling.groups import Asked
from etude.sampling.rewards.mixture import Mixture, Simple, Written
from etude.sampling.rewards.options import RewardOptions
from etude.sampling.rollout_options import RolloutOptions
from etude.sampling.rollouts import Rollouts
from etude.sampling.written import Here
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.progress import Progress
from etude.training.scores import scores_of


def rewards(written: Sequence[Written]) -> list[float]:
    return [reward(one.answer) for one in written]


def main() -> None:
    job = read_job()
    file = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    prompts = [tuple(tokens) for ((tokens, _),) in file["samples"]]
    each, steps = file["samples_per_step"], job["steps"]
    model = load(file["model"])
    objective = PPO(kl=0.05)
    policy = attach(LoRA(), model, value_head=True)
    term = RewardOptions(kind="exact")
    source = Rollouts(
        writer=Here(policy, Renderer(model.tokenizer).end_ids),
        prompts=[Asked(str(at), tokens, "", None) for at, tokens in enumerate(prompts)],
        objective=objective,
        rewards=Mixture([(term, Simple(rewards))]),
        options=RolloutOptions(rewards=(term,), group=GROUP, max_new_tokens=MAX_NEW_TOKENS),
        scores=lambda batch: scores_of(policy, batch, objective),
        tokens=8192,
    )
    options = TrainOptions(
        steps=steps,
        batch_rows=each * GROUP,
        learning_rate=job["learning_rate"],
        schedule="constant",
        warmup_share=0.0,
    )
    seen: list[Progress] = []
    ends = [time.perf_counter()]

    def note(progress: Progress, _policy: object) -> None:
        seen.append(progress)
        ends.append(time.perf_counter())

    train(policy, source, objective, options=options, hooks=[note])
    Measured(
        seconds=[end - start for start, end in pairwise(ends)],
        rows=[each] * steps,
        tokens=[sum(map(len, prompts[at * each : (at + 1) * each])) for at in range(steps)],
        losses=[one.loss for one in seen],
        gradient_norms=[one.grad_norm for one in seen],
        figures={"answer_tokens": sum(one.figures["answer_tokens"] for one in seen) / len(seen)},
    ).print()


if __name__ == "__main__":
    main()
