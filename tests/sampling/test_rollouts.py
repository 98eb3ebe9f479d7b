"""Answers to learn from: drawn from the newest weights, rewarded, credited, written down, used as often as said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from etude.batch import Batch, Scores, Step
from etude.errors import ConfigError, DataError, EtudeError
from etude.objectives.base import Online
from etude.objectives.grpo import GRPO
from etude.objectives.ppo import PPO
from etude.sampling.groups import Asked
from etude.sampling.rewards.judge import OpenJudge
from etude.sampling.rewards.mixture import Mixture, OpenModel, Simple, Written
from etude.sampling.rewards.options import RewardOptions
from etude.sampling.rollout_options import RolloutOptions
from etude.sampling.rollouts import FILE, Rollouts
from etude.sampling.written import Here
from etude.techniques.lora import LoRA
from etude.techniques.policy import Policy, attach
from etude.training.loop import Trained, train
from etude.training.options import TrainOptions
from etude.training.progress import Progress
from etude.training.scores import scores_of
from tests.toy import toy_loaded

PROMPTS = [Asked(f"p{i}", (1, *range(20 + i, 30 + i)), f"prompt {i}", None) for i in range(6)]

NO_MODELS: OpenModel = lambda run: lambda rows: []  # noqa: E731
NO_JUDGES: OpenJudge = lambda name, longest: lambda questions: []  # noqa: E731


def liked(written: Sequence[Written]) -> list[float]:
    """The share of tokens with an even id."""
    answers = [one.tokens[len(one.tokens) - one.num_answer_tokens :] for one in written]
    return [sum(token % 2 == 0 for token in answer) / max(1, len(answer)) for answer in answers]


def mixture(term: Callable[[Sequence[Written]], list[float]] = liked) -> Mixture:
    return Mixture([(RewardOptions(kind="exact"), Simple(term))])


def rollouts(policy: Policy, objective: Online, *, folder: Path | None = None, **options: object) -> Rollouts:
    settings = {"group": 4, "max_new_tokens": 6, **options}
    return Rollouts(
        writer=Here(policy, frozenset({2})), prompts=PROMPTS, objective=objective, rewards=mixture(), folder=folder,
        options=RolloutOptions(rewards=(RewardOptions(kind="exact"),), **settings),  # type: ignore[arg-type]
        scores=lambda batch: scores_of(policy, batch, objective), tokens=4096,
    )  # fmt: skip


def fresh(objective: Online) -> Policy:
    loaded = toy_loaded()
    with torch.no_grad():  # a head with something to say: a fresh one can hardly prefer any token
        loaded.module.get_input_embeddings().weight.mul_(8)
    return attach(LoRA(rank=4), loaded, seed=1, value_head=objective.needs_values)


def trained(
    objective: Online, *, steps: int = 4, rate: float = 1e-2, rows: int = 8, folder: Path | None = None,
    **options: object,
) -> tuple[Trained, list[Progress], Policy]:  # fmt: skip
    policy = fresh(objective)
    seen: list[Progress] = []
    source = rollouts(policy, objective, folder=folder, **options)
    settings = TrainOptions(steps=steps, batch_rows=rows, learning_rate=rate, schedule="constant", warmup_share=0.0)
    result = train(policy, source, objective, options=settings, hooks=[lambda progress, _: seen.append(progress)])
    return result, seen, policy


@pytest.mark.parametrize(
    "objective", [GRPO(), GRPO(loss_type="dr_grpo", baseline="mean"), PPO(kl=0.0, value_weight=1.0)]
)
def test_the_reward_rises(objective: Online) -> None:
    _, seen, _ = trained(objective, steps=40, rate=3e-2, rows=32, group=8)
    first, last = (sum(one.figures["reward"] for one in part) / 5 for part in (seen[:5], seen[-5:]))
    assert last > first + 0.1, (first, last)


@pytest.mark.parametrize("objective", [GRPO(), PPO()])
@pytest.mark.parametrize("updates", [1, 2])
def test_the_first_ratio_is_1_and_sampling_equals_scoring(objective: Online, updates: int) -> None:
    _, seen, _ = trained(objective, steps=4, updates=updates)
    for progress in seen[::updates]:
        assert progress.figures["ratio_off"] < 1e-5
        assert progress.figures["mismatch"] < 1e-4
    if updates == 2:
        assert seen[1].figures["ratio_off"] > 1e-4, "the second update is on answers of the policy before the first"


def test_a_step_is_the_same_for_the_same_weights_and_seed() -> None:
    one, two = steps_of(GRPO()), steps_of(GRPO())
    assert all(torch.equal(a.batches[0].tokens_T, b.batches[0].tokens_T) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].batches[0].tokens_T, one[1].batches[0].tokens_T)


def steps_of(
    objective: Online, *, first: int = 0, folder: Path | None = None, total: int = 24, **options: object
) -> list[Step]:
    source = rollouts(fresh(objective), objective, folder=folder, **options)
    return list(
        source.steps(
            batch_rows=8,
            seed=0,
            first=first,
            total_samples=total,
            share=lambda items: items,
            num_ranks=1,
            most_tokens=None,
        )
    )


def test_a_term_for_length_and_the_correlation_with_length_are_two_figures() -> None:
    source = rollouts(fresh(GRPO()), GRPO())
    source.writer = Here(source.writer.subject, frozenset(range(0, 400, 7)))  # type: ignore[attr-defined]
    terms = [(RewardOptions(kind=kind), Simple(liked)) for kind in ("length", "exact")]
    source.rewards = Mixture(terms)  # type: ignore[arg-type]  # kinds are literals
    next(source.steps(batch_rows=8, seed=0, first=0, total_samples=8, share=lambda i: i, num_ranks=1, most_tokens=None))
    assert source.figures["reward_length"] == source.figures["reward_exact"] == source.figures["reward"] / 2
    assert source.figures["goes_with_length_over"] > 0
    assert -1 <= source.figures["goes_with_length"] <= 1


def test_groups_share_their_prompt() -> None:
    batch = steps_of(GRPO())[0].batches[0]
    assert len(batch.tokens_T) < 2 * len(PROMPTS[0].tokens) + 8 * 6 + 1
    assert batch.given("advantage").shape == batch.site_S.shape


def test_written_answers_are_used_again_when_a_run_goes_on_between_two_updates(tmp_path: Path) -> None:
    for name in ("whole", "torn"):
        (tmp_path / name).mkdir()
    whole = steps_of(PPO(), folder=tmp_path / "whole", total=32, updates=2)
    steps_of(PPO(), folder=tmp_path / "torn", total=24, updates=2)
    again = steps_of(PPO(), folder=tmp_path / "torn", first=3, total=32, updates=2)
    assert len(again) == 1
    for name in ("advantage", "return", "old", "value", "sampled"):
        assert torch.equal(again[0].batches[0].given(name), whole[3].batches[0].given(name))
    assert again[0].sample_ids == whole[3].sample_ids
    lines = [json.loads(line) for line in (tmp_path / "torn" / FILE).read_text().splitlines()]
    begins = [line["begin"] for line in lines if "begin" in line]
    assert begins == [0, 1], "each batch of answers is there once"


@pytest.mark.parametrize("lost", [1, 40, 400])
def test_a_torn_end_is_written_anew(tmp_path: Path, lost: int) -> None:
    before = steps_of(GRPO(), folder=tmp_path, total=16)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text[:-lost])
    after = steps_of(GRPO(), folder=tmp_path, first=1, total=16)
    assert torch.equal(after[0].batches[0].tokens_T, before[1].batches[0].tokens_T)
    assert (tmp_path / FILE).read_text() == text


def test_equal_rewards_teach_nothing_and_are_drawn_again() -> None:
    policy = fresh(GRPO())
    source = rollouts(policy, GRPO())
    source.rewards = mixture(lambda written: [1.0] * len(written))
    before = {name: weight.detach().clone() for name, weight in policy.trainable.items()}
    seen: list[Progress] = []
    options = TrainOptions(steps=2, batch_rows=8, learning_rate=0.1)
    train(policy, source, GRPO(), options=options, hooks=[lambda progress, _: seen.append(progress)])
    assert all(torch.equal(before[name], weight) for name, weight in policy.trainable.items())
    assert "nothing to learn from" in str(seen[0].skipped)
    assert seen[0].figures["dead_groups"] == 1

    calls: list[int] = []

    def first_groups_are_equal(written: Sequence[Written]) -> list[float]:
        calls.append(len(written))
        return [0.0] * len(written) if len(calls) == 1 else [float(at) for at in range(len(written))]

    source = rollouts(policy, GRPO(), redraw=2)
    source.rewards = mixture(first_groups_are_equal)
    step = next(
        source.steps(batch_rows=8, seed=0, first=0, total_samples=8, share=lambda i: i, num_ranks=1, most_tokens=None)
    )
    assert calls == [8, 8]
    assert source.figures["dead_groups"] == 0
    assert step.batches[0].given("advantage").abs().sum() > 0


def test_unfinished_answers_can_be_left_out() -> None:
    step = steps_of(GRPO(), learn_unfinished=False)[0]
    batch = step.batches[0]
    ended = [int(batch.target_S[batch.row_S == row][-1]) == 2 for row in range(batch.num_rows)]
    for row, stop in enumerate(ended):
        if not stop:
            assert not batch.given("advantage")[batch.row_S == row].any()


def test_a_reward_lands_on_the_answer_s_last_token_and_nowhere_else() -> None:
    """By hand: with λ = 0 and a critic that expects nothing, only the token before which the reward comes is credited;
    answers of different lengths share a batch without any padding between them."""
    objective = PPO(kl=0.0, decay=0.0, value_weight=1.0)
    source = rollouts(fresh(objective), objective, max_new_tokens=9)
    source.writer = Here(source.writer.subject, frozenset(range(0, 400, 7)))  # type: ignore[attr-defined]
    source.scores = silent(source.scores)
    step = next(
        source.steps(batch_rows=8, seed=0, first=0, total_samples=8, share=lambda i: i, num_ranks=1, most_tokens=None)
    )
    (batch,) = step.batches
    lengths = batch.row_S.bincount()
    assert lengths.unique().numel() > 2, "answers of several lengths"
    assert batch.given("advantage").shape == batch.weight_S.shape == (int(lengths.sum()),)
    last = lengths.cumsum(0) - 1
    wanted = torch.zeros(len(batch.row_S)).index_put((last,), batch.value_R.float())
    assert torch.equal(batch.given("return"), wanted)
    answers = [group.rewards for group in source.held[1].groups]  # type: ignore[index]
    assert batch.value_R.tolist() == pytest.approx([reward for group in answers for reward in group])


def silent(scores: Callable[[Batch], Scores]) -> Callable[[Batch], Scores]:
    """The same scores by a critic that expects nothing."""

    def found(batch: Batch) -> Scores:
        told = scores(batch)
        return replace(told, values_S=torch.zeros_like(told.need("values")))

    return found


def test_whole_groups_are_needed() -> None:
    source = rollouts(fresh(GRPO()), GRPO())
    steps = source.steps(
        batch_rows=6, seed=0, first=0, total_samples=6, share=lambda i: i, num_ranks=1, most_tokens=None
    )
    with pytest.raises(DataError, match="no whole groups of 4"):
        next(steps)


def test_too_many_answers_without_a_reward_end_the_run() -> None:
    policy = fresh(GRPO())
    source = rollouts(policy, GRPO())
    source.rewards = mixture(lambda written: [math.nan] * len(written))
    with pytest.raises(EtudeError, match="8 of 8 answers got no reward"):
        train(policy, source, GRPO(), options=TrainOptions(steps=1, batch_rows=8))


USERS = '''"""Reward functions of a user."""
import os, time

def good(prompt, answer, reference):
    print("chatter on stdout")
    return len(answer) / 10

def odd(prompt, answer, reference):
    if answer == "hang":
        time.sleep(60)
    if answer == "die":
        os._exit(3)
    if answer == "raise":
        raise RuntimeError("no such animal")
    return {"nan": float("nan"), "inf": float("inf"), "text": "1.0", "none": None}.get(answer, 1.0)
'''


def test_a_user_s_function_is_isolated(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(USERS)
    options = [
        RewardOptions(kind="python", function=f"{tmp_path}/mine.py:good", highest=0.5),
        RewardOptions(kind="python", function=f"{tmp_path}/mine.py:odd", weight=2.0, seconds=0.5),
    ]
    made = Mixture.of(options, NO_MODELS, NO_JUDGES)
    made.asked = 1_000  # so that a few failures are few

    def of(answer: str) -> float:
        ((whole, _),) = made([Written("p", answer, None, (1, 2), 1)])
        return whole

    assert of("ok") == pytest.approx(0.2 + 2)
    assert of("a long answer that is over the bound") == pytest.approx(0.5 + 2)
    for wrong in ("hang", "die", "raise", "nan", "inf", "text", "none"):
        assert math.isnan(of(wrong)), wrong
        assert of("ok") == pytest.approx(2.2), f"the one after {wrong!r} is asked again"
    reasons = " ".join(made.failures)
    assert "TypeError" in reasons or "gave" in reasons


def test_a_function_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nonsense_that_is_nowhere\n")
    made = Mixture.of([RewardOptions(kind="python", function=f"{tmp_path}/mine.py:f")], NO_MODELS, NO_JUDGES)
    with pytest.raises(ConfigError, match="nonsense_that_is_nowhere"):
        made([Written("p", "a", None, (1, 2), 1)])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("no JSON", 0.0),
        ("[1]", 0.0),
        ('{"a": 1, "b": {"c": "x"}}', 1.0),
        ('{"a": 2, "b": {"c": "x"}}', (1 + 1 + 0.5) / 3),
        ('{"z": 1}', 1 / 3),
        ('{"a": true, "b": {"c": "x"}}', (1 + 1 + 0.5) / 3),
    ],
)
def test_json_is_rewarded_in_thirds(answer: str, expected: float) -> None:
    made = Mixture.of([RewardOptions(kind="json")], NO_MODELS, NO_JUDGES)
    ((whole, _),) = made([Written("p", answer, '{"a": 1, "b": {"c": "x"}}', (1, 2), 1)])
    assert whole == pytest.approx(expected)


def test_other_rules() -> None:
    made = Mixture.of(
        [
            RewardOptions(kind="exact"),
            RewardOptions(kind="regex", pattern=r"#### (\d+)", weight=10.0),
            RewardOptions(kind="length", most_tokens=8, weight=100.0),
        ],
        NO_MODELS,
        NO_JUDGES,
    )

    def of(answer: str, tokens: int) -> float:
        return made([Written("p", answer, "so #### 42", (1, 2), tokens)])[0][0]

    assert of("so #### 42", 6) == 11
    assert of("well #### 42", 7) == 10 - 50
    assert of("well #### 41", 8) == -100
