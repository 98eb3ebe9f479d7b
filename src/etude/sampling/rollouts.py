"""Answers that the policy itself writes, as steps that the training loop pulls: always from the newest weights.

Step k's answers depend on the seed, k and the weights alone. They are written down before they are learned from, so
that a run that was stopped between two updates on the same answers goes on with these very answers, and each is used
exactly as often as it should be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etude import durable
from etude.batch import Batch, Sample, Step, TokenRow
from etude.data.batches import epoch_order
from etude.data.cut import cut
from etude.errors import DataError
from etude.models.loaded import Subject
from etude.models.scoring import score
from etude.packing import pack
from etude.sampling.options import SampleOptions
from etude.sampling.rewards.mixture import Mixture, Written
from etude.sampling.rollout_options import RolloutOptions
from etude.sampling.sampler import sample

FILE = "rollouts.jsonl"
Share = Callable[[Sequence[Sequence[int]]], Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt with what is known of its answer."""

    id: str
    tokens: tuple[int, ...]
    text: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt with their rewards."""

    asked: Asked
    answers: tuple[tuple[int, ...], ...]
    sampled: tuple[tuple[float, ...], ...]
    """The sampler's log-probability of each token."""
    finished: tuple[bool, ...]
    texts: tuple[str, ...]
    rewards: tuple[float, ...]
    parts: tuple[Mapping[str, float], ...]

    @property
    def is_dead(self) -> bool:
        """Whether all rewards are the same, so that nothing can be learned."""
        known = [reward for reward in self.rewards if not math.isnan(reward)]
        return len(known) < 2 or max(known) - min(known) < 1e-8


@dataclass
class Rollouts:
    """A source of steps for objectives that learn online; see `training.source.StepSource`."""

    subject: Subject
    """The policy that learns."""
    prompts: Sequence[Asked]
    advantages: Callable[[Tensor], Tensor]
    rewards: Mixture
    options: RolloutOptions
    end_ids: frozenset[int]
    tokens: int
    share_prefixes: bool = True
    folder: Path | None = None
    """Where answers are written down; None: nowhere."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the newest answers: mean reward and its terms, lengths, how many ended, dead groups."""

    @property
    def num_samples(self) -> int:
        """Answers of one pass over the prompts."""
        return len(self.prompts) * self.options.group

    def steps(
        self,
        *,
        batch_rows: int,
        seed: int,
        first: int,
        total_samples: int,
        share: Share,
        num_ranks: int,
        most_tokens: int | None,
    ) -> Iterator[Step]:
        """An update learns from `batch_rows` answers; each batch of answers serves `options.updates` updates.

        Raises:
            DataError: `batch_rows` is no multiple of the group's size.
        """
        if batch_rows % self.options.group:
            raise DataError(
                f"{batch_rows} answers an update are no whole groups of {self.options.group}",
                where="training.batch_rows",
                remedy="make it a multiple of rollouts.group",
            )
        prompts_each = batch_rows // self.options.group
        held: tuple[int, list[Group], list[Sample]] | None = None
        for step in range(first, math.ceil(total_samples / batch_rows)):
            number = step // self.options.updates
            if held is None or held[0] != number:
                groups = self._groups(number, prompts_each, seed)
                held = (number, groups, self._samples(groups, number))
            _, groups, samples = held
            self.figures = _figures(groups)
            tokens = self.tokens if most_tokens is None else min(self.tokens, most_tokens)
            parts = cut(samples, tokens=tokens, share_prefixes=self.share_prefixes, multiple_of=num_ranks)
            yield Step(
                batches=tuple(pack([samples[at] for at in part], share=self.share_prefixes) for part in share(parts)),
                sample_ids=tuple(one.id for one in samples),
                epoch=(step + 1) * batch_rows / self.num_samples,
            )

    def _groups(self, number: int, count: int, seed: int) -> list[Group]:
        """The answers of one rollout, those written down if it was interrupted among its updates."""
        known = self._written_down(number)
        if known is not None:
            return known
        chosen = self._places(number * (1 + self.options.redraw) * count, count, seed)
        groups = self.answered(chosen, seed=_seed(seed, number, 0))
        for again in range(self.options.redraw):
            dead = [at for at, group in enumerate(groups) if group.is_dead]
            if not dead:
                break
            others = self._places((number * (1 + self.options.redraw) + 1 + again) * count, len(dead), seed)
            fresh = self.answered(others, seed=_seed(seed, number, 1 + again))
            for at, group in zip(dead, fresh, strict=True):
                groups[at] = group
        self._write_down(number, groups)
        return groups

    def _places(self, start: int, count: int, seed: int) -> list[Asked]:
        found = []
        for place in range(start, start + count):
            epoch, at = divmod(place, len(self.prompts))
            found.append(self.prompts[int(epoch_order(len(self.prompts), seed=seed, epoch=epoch)[at])])
        return found

    def answered(self, asked: Sequence[Asked], *, seed: int, greedy: bool = False) -> list[Group]:
        """Groups of answers with their rewards; greedy: one answer each, the likeliest."""
        group = 1 if greedy else self.options.group
        settings = SampleOptions(
            max_new_tokens=self.options.max_new_tokens,
            temperature=0.0 if greedy else self.options.temperature,
            top_p=self.options.top_p,
            batch_rows=self.options.batch_rows,
            seed=seed,
        )
        with self.subject.use() as model:
            prompts = [one.tokens for one in asked for _ in range(group)]
            answers = sample(model, prompts, settings, end_ids=self.end_ids)
        written = [
            Written(one.text, answer.text, one.reference, (*one.tokens, *answer.tokens), len(answer.tokens))
            for one, answer in zip((one for one in asked for _ in range(group)), answers, strict=True)
        ]
        judged = self.rewards(written)
        found = []
        for at, one in enumerate(asked):
            mine, told = answers[at * group : (at + 1) * group], judged[at * group : (at + 1) * group]
            found.append(
                Group(
                    asked=one,
                    answers=tuple(answer.tokens for answer in mine),
                    sampled=tuple(answer.logprobs for answer in mine),
                    finished=tuple(answer.finish == "stop" for answer in mine),
                    texts=tuple(answer.text for answer in mine),
                    rewards=tuple(whole for whole, _ in told),
                    parts=tuple(parts for _, parts in told),
                )
            )
        return found

    def _samples(self, groups: Sequence[Group], number: int) -> list[Sample]:
        advantages_PG = self.advantages(torch.tensor([group.rewards for group in groups], dtype=torch.float64))
        samples = []
        for group, advantages in zip(groups, advantages_PG.tolist(), strict=True):
            rows = []
            for at, answer in enumerate(group.answers):
                learned = group.finished[at] or self.options.learn_unfinished
                rows.append(_row(group, at, float(advantages[at]) if learned and answer else 0.0))
            samples.append(Sample(f"{group.asked.id}@{number}", tuple(rows)))
        return self._with_old(samples) if self.options.updates > 1 else samples

    def _with_old(self, samples: Sequence[Sample]) -> list[Sample]:
        """With each token's log-probability before the first update, as scoring finds it."""
        found = []
        with self.subject.use() as model, torch.no_grad():
            for one in samples:
                batch = pack([one], share=self.share_prefixes).to(model.module.device)
                old_S = score(model.module, batch, way=model.way).cpu()
                rows = tuple(_given(row, "old", part) for row, part in _split(one, batch, old_S))
                found.append(replace(one, rows=rows))
        return found

    def _write_down(self, number: int, groups: Sequence[Group]) -> None:
        if self.folder is None:
            return
        lines = [
            json.dumps(
                {
                    "rollout": number,
                    "id": group.asked.id,
                    "answers": group.answers,
                    "sampled": group.sampled,
                    "finished": group.finished,
                    "texts": group.texts,
                    "rewards": [None if math.isnan(reward) else reward for reward in group.rewards],
                    "parts": [dict(parts) for parts in group.parts],
                }
            )
            for group in groups
        ]
        durable.append_line(self.folder / FILE, json.dumps({"begin": number, "groups": len(groups)}))
        for line in lines:
            durable.append_line(self.folder / FILE, line)

    def _written_down(self, number: int) -> list[Group] | None:
        """The answers of this rollout if all of them are there; what came after its beginning is cut off else."""
        if self.folder is None or not (self.folder / FILE).exists():
            return None
        rows = [json.loads(line) for line in (self.folder / FILE).read_text(encoding="utf-8").splitlines() if line]
        begins = [at for at, row in enumerate(rows) if row.get("begin") == number]
        if not begins:
            return None
        start = begins[-1]
        mine = rows[start + 1 : start + 1 + int(rows[start]["groups"])]
        by_id = {one.id: one for one in self.prompts}
        whole = len(mine) == rows[start]["groups"] and all(row.get("rollout") == number for row in mine)
        kept = rows[: start + 1 + len(mine)] if whole else rows[:start]
        durable.write_text(self.folder / FILE, "".join(json.dumps(row) + "\n" for row in kept))
        return [_read(row, by_id[row["id"]]) for row in mine] if whole else None


def _read(row: dict[str, Any], asked: Asked) -> Group:
    return Group(
        asked=asked,
        answers=tuple(map(tuple, row["answers"])),
        sampled=tuple(map(tuple, row["sampled"])),
        finished=tuple(row["finished"]),
        texts=tuple(row["texts"]),
        rewards=tuple(math.nan if reward is None else reward for reward in row["rewards"]),
        parts=tuple(row["parts"]),
    )


def _row(group: Group, at: int, advantage: float) -> TokenRow:
    asked, answer = group.asked.tokens, group.answers[at]
    before, here = [0.0] * len(asked), len(answer)
    return TokenRow(
        (*asked, *answer),
        (*before, *[1.0] * here),
        group.rewards[at],
        {"advantage": [*before, *[advantage] * here], "sampled": [*before, *group.sampled[at]]},
    )


def _given(row: TokenRow, name: str, values: Tensor) -> TokenRow:
    padded = [0.0] * (len(row.tokens) - len(values)) + values.tolist()
    return replace(row, given={**row.given, name: padded})


def _split(sample_: Sample, batch: Batch, values_S: Tensor) -> list[tuple[TokenRow, Tensor]]:
    rows = batch.row_S.cpu()
    return [(row, values_S[rows == at]) for at, row in enumerate(sample_.rows)]


def _seed(seed: int, number: int, again: int) -> int:
    return int(np.random.SeedSequence([seed, number, again]).generate_state(1, np.uint32)[0])


def _figures(groups: Sequence[Group]) -> dict[str, float]:
    rewards = [reward for group in groups for reward in group.rewards if not math.isnan(reward)]
    lengths = [len(answer) for group in groups for answer in group.answers]
    names = {name for group in groups for parts in group.parts for name in parts}
    found = {
        "reward": _mean(rewards),
        "answer_tokens": _mean(lengths),
        "ended": _mean([float(ended) for group in groups for ended in group.finished]),
        "dead_groups": _mean([float(group.is_dead) for group in groups]),
    }
    if len(names) > 1:
        for name in sorted(names):
            values = [parts[name] for group in groups for parts in group.parts]
            found[f"reward_{name.replace(' ', '_')}"] = _mean([value for value in values if not math.isnan(value)])
    return found


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else math.nan
