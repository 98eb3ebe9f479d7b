"""Objectives that learn from what the policy writes: prompts, rewards and held-out looks of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etude import durable
from etude.batch import Sample, TokenRow
from etude.config import RunFile
from etude.cycle.subjects import InMemory, open_subject
from etude.data.prepare import Prepared
from etude.data.render import Renderer
from etude.endpoints.vllm import open_vllm
from etude.errors import ConfigError, Problems
from etude.evaluation.intervals import mean_interval
from etude.evaluation.report import ItemResult, Report
from etude.exporting.targets import as_vllm_adapter
from etude.models.rewarding import rewards_of
from etude.runs.directory import RunDirectory
from etude.sampling.groups import Asked
from etude.sampling.rewards.judge import Ask, asked_here
from etude.sampling.rewards.mixture import Mixture
from etude.sampling.rollouts import Rollouts
from etude.sampling.written import FOLDER as SERVED
from etude.sampling.written import Here, Served, Writer
from etude.techniques.policy import Policy
from etude.training.scores import scores_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELDOUT_PROMPTS = 64
REWARD = "reward"
LOOK_SEED = 7_919


def rollouts_of(run_file: RunFile, policy: Policy, prepared: Prepared, folder: Path | None) -> Rollouts:
    """The source of steps of an online objective.

    Raises:
        EtudeError: no rewards, or one that cannot be opened.
    """
    if not run_file.rollouts.rewards and run_file.objective.needs_rewards:
        raise ConfigError(
            "an objective that learns from its own answers needs at least one reward",
            where="rollouts.rewards",
            remedy="as in rewards: [{kind: exact}]",
        )
    objective: Any = run_file.objective
    known = InMemory(policy.model, policy.technique)
    tokenizer = policy.model.tokenizer
    return Rollouts(
        writer=_writer(run_file, policy, folder),
        prompts=[asked(sample, tokenizer) for sample in prepared.samples],
        objective=objective,
        rewards=Mixture.of(run_file.rollouts.rewards, partial(open_reward_model, known=known), open_judge),
        options=run_file.rollouts,
        scores=lambda batch: scores_of(policy, batch.to(policy.model.module.device), objective),
        tokens=run_file.data.tokens_at_once,
        share_prefixes=run_file.data.share_prefixes,
        folder=folder,
    )


def _writer(run_file: RunFile, policy: Policy, folder: Path | None) -> Writer:
    """The policy itself, or a server that it is pushed to.

    Raises:
        EtudeError: a server that cannot answer by this adapter, or no folder to hand it over in.
    """
    tokenizer, vllm = policy.model.tokenizer, run_file.rollouts.vllm
    end_ids = Renderer(tokenizer).end_ids
    if vllm is None:
        return Here(policy, end_ids)
    if found := as_vllm_adapter(policy.technique, policy.model.module.config):
        raise Problems("rollouts.vllm", [ConfigError(says, where=setting) for setting, says in found])
    if folder is None:
        raise ConfigError("a server's answers are not the same in every process", where="rollouts.vllm",
                          remedy="train in one process")  # fmt: skip
    name = sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    return Served(
        server=open_vllm(vllm),
        save=partial(policy.technique.save, policy.model),
        folder=folder / SERVED if vllm.adapters is None else Path(vllm.adapters) / name,
        tokenizer=tokenizer,
        end_ids=end_ids,
    )


def asked(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Asked:
    """A row as a prompt: what comes before its last answer, and that answer's text as the reference."""
    row = sample.rows[0]
    tokens, start = tuple(int(token) for token in row.tokens), answer_start(row)
    text, reference = (
        tokenizer.decode(list(part), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for part in (tokens[:start], tokens[start:])
    )
    return Asked(sample.id, tokens[:start], str(text), str(reference) if start < len(tokens) else None)


def answer_start(row: TokenRow) -> int:
    """Where the last answer of a row begins; its end where it has none."""
    learned = np.flatnonzero(np.asarray(row.weights))
    if not len(learned):
        return len(row.tokens)
    breaks = np.flatnonzero(np.diff(learned) > 1)
    return int(learned[breaks[-1] + 1] if len(breaks) else learned[0])


def open_reward_model(run: str, *, known: InMemory | None = None) -> Callable[[Sequence[Sequence[int]]], list[float]]:
    """The reward model of a run, on the weights in memory where it was made from the same.

    Raises:
        EtudeError: no run, or one without a value head.
    """
    subject = open_subject(run, known=known)
    with subject.use() as model:
        if model.value_head is None:
            raise ConfigError("is no reward model", where=run, remedy="train one with objective.kind=reward")

    def rewards(rows: Sequence[Sequence[int]]) -> list[float]:
        with subject.use() as model:
            return rewards_of(model, rows)

    return rewards


def open_judge(name: str, max_new_tokens: int) -> Ask:
    """A run, an adapter or a model as a judge.

    Raises:
        EtudeError: nothing goes by that name, or it cannot chat.
    """
    return asked_here(open_subject(name), max_new_tokens)


@dataclass(frozen=True)
class HeldoutReward:
    """Mean reward of answers to held-out prompts, drawn with the same random numbers at each look."""

    rollouts: Rollouts
    prompts: Sequence[Asked]

    def look(self) -> tuple[float, Mapping[str, float]]:
        """Minus the mean reward, and the reward with the answers' lengths."""
        groups = self.rollouts.answered(self.prompts, seed=LOOK_SEED)
        rewards = [reward for group in groups for reward in group.rewards if not math.isnan(reward)]
        lengths = [len(answer) for group in groups for answer in group.answers]
        reward = sum(rewards) / len(rewards) if rewards else math.nan
        return -reward, {"reward": reward, "answer_tokens": sum(lengths) / len(lengths)}


def measured_reward(
    heldout: HeldoutReward,
    run: RunDirectory,
    subject: str,
    *,
    base: bool,
    known: bool = False,
    beside: Report | None = None,
) -> Report:
    """The likeliest answer to each held-out prompt with its reward, as a report like any task's.

    With the base's report `beside` it, how often the tuned model's answer got more is among the scores. A report that a
    resumed run has already is not made again (`known`).
    """
    path = run.report(REWARD, base=base)
    if known and path.exists():
        return Report.load(path)
    report = rewarded_answers(heldout, subject, beside=beside)
    durable.make_directory(run.reports, exist_ok=True)
    report.save(path)
    return report


def rewarded_answers(heldout: HeldoutReward, subject: str, *, beside: Report | None = None) -> Report:
    """The likeliest answer to each held-out prompt with its reward."""
    groups = heldout.rollouts.answered(heldout.prompts, seed=LOOK_SEED, greedy=True)
    items = tuple(
        ItemResult(
            id=group.asked.id,
            prompt=group.asked.text,
            reference=group.asked.reference,
            answer=group.texts[0],
            scores={REWARD: group.rewards[0], **{f"{REWARD} {name}": value for name, value in group.parts[0].items()}},
            prompt_tokens=len(group.asked.tokens),
            answer_tokens=len(group.answers[0]),
            finish="stop" if group.finished[0] else "length",
        )
        for group in groups
    )
    names = items[0].scores
    summary = {name: _mean([item.scores[name] for item in items]) for name in names}
    if missing := sum(math.isnan(item.scores[REWARD]) for item in items):
        summary["missing"] = float(missing)
    intervals = {name: mean_interval([item.scores[name] for item in items]) for name in names}
    if beside is not None:
        pairs = zip(items, beside.items, strict=True)
        won = [_won(mine.scores[REWARD], its.scores[REWARD]) for mine, its in pairs]
        summary["win_rate"], intervals["win_rate"] = _mean(won), mean_interval(won)
    asked_for = "\n".join(f"{one.id} {one.text}" for one in heldout.prompts)
    return Report(
        task=REWARD,
        metric=REWARD,
        subject=subject,
        model_hash="",
        items=items,
        summary=summary,
        intervals=intervals,
        data_sha256=sha256(asked_for.encode()).hexdigest(),
    )


def _mean(scores: Sequence[float]) -> float:
    """Of those that are there; NaN where none is."""
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else math.nan


def _won(mine: float, its: float) -> float:
    if math.isnan(mine) or math.isnan(its):
        return math.nan
    return 0.5 if mine == its else float(mine > its)


def heldout_look(rollouts: Rollouts, prepared: Prepared, policy: Policy) -> HeldoutReward | None:
    """None without held-out prompts."""
    if not len(prepared.heldout):
        return None
    chosen = prepared.heldout[:HELDOUT_PROMPTS]
    return HeldoutReward(rollouts, [asked(sample, policy.model.tokenizer) for sample in chosen])
