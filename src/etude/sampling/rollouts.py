"""Answers that the policy itself writes, as steps that the training loop pulls: always from the newest weights.

Step k's answers depend on the seed, k and the weights alone. They are written down before they are learned from, so
that a run that was stopped between two updates on the same answers goes on with these very answers, and each is used
exactly as often as it should be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etude import durable
from etude.batch import Batch, Sample, Scores, Step, TokenRow
from etude.data.batches import epoch_order
from etude.data.cut import cut
from etude.errors import DataError
from etude.objectives.base import Online
from etude.objectives.experience import Experience
from etude.packing import pack
from etude.sampling.groups import Asked, Group
from etude.sampling.options import SampleOptions
from etude.sampling.rewards.mixture import Mixture, Written
from etude.sampling.rollout_figures import figures_of
from etude.sampling.rollout_options import RolloutOptions
from etude.sampling.written import Writer

FILE = "rollouts.jsonl"
Share = Callable[[Sequence[Sequence[int]]], Sequence[Sequence[int]]]


@dataclass
class Rollouts:
    """A source of steps for objectives that learn online; see `training.source.StepSource`."""

    writer: Writer
    """Answers as the policy that learns."""
    prompts: Sequence[Asked]
    objective: Online
    rewards: Mixture
    options: RolloutOptions
    scores: Callable[[Batch], Scores]
    """Of the answers' tokens by the policy as it is, without gradient."""
    tokens: int
    share_prefixes: bool = True
    folder: Path | None = None
    """Where answers are written down; None: nowhere."""
    state: dict[str, float] = field(default_factory=dict)
    """What the objective goes on with."""
    held: tuple[int, _Rollout] | None = None
    """The newest answers, with their number."""
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
            DataError: `batch_rows` is no multiple of the group's size, or several processes would each get other
                answers.
        """
        if num_ranks > 1 and not self.writer.same_everywhere:
            raise DataError("a server's answers are not the same in every process", where="rollouts.vllm",
                            remedy="train in one process")  # fmt: skip
        if batch_rows % self.options.group:
            raise DataError(
                f"{batch_rows} answers an update are no whole groups of {self.options.group}",
                where="training.batch_rows",
                remedy="make it a multiple of rollouts.group",
            )
        prompts_each = batch_rows // self.options.group
        for step in range(first, math.ceil(total_samples / batch_rows)):
            number = step // self.options.updates
            if self.held is None or self.held[0] != number:
                known = self._written_down(number) if self.held is None else None  # only a run that goes on has some
                self.held = (number, known or self._fresh(number, prompts_each, seed))
            rollout = self.held[1]
            samples = rollout.samples(number, learn_unfinished=self.options.learn_unfinished)
            self.figures = {**figures_of(rollout.groups, samples), **rollout.figures}
            tokens = self.tokens if most_tokens is None else min(self.tokens, most_tokens)
            parts = cut(samples, tokens=tokens, share_prefixes=self.share_prefixes, multiple_of=num_ranks)
            yield Step(
                batches=tuple(pack([samples[at] for at in part], share=self.share_prefixes) for part in share(parts)),
                sample_ids=tuple(one.id for one in samples),
                epoch=(step + 1) * batch_rows / self.num_samples,
            )

    def _fresh(self, number: int, count: int, seed: int) -> _Rollout:
        """New answers, credited and written down."""
        each = 1 + self.options.redraw
        groups = self.answered(self._places(number * each * count, count, seed), seed=_seed(seed, number, 0))
        for again in range(self.options.redraw):
            dead = [at for at, group in enumerate(groups) if group.is_dead]
            if not dead:
                break
            others = self._places((number * each + 1 + again) * count, len(dead), seed)
            fresh = self.answered(others, seed=_seed(seed, number, 1 + again))
            for at, group in zip(dead, fresh, strict=True):
                groups[at] = group
        rollout = self._credited(groups, number)
        self._write_down(number, rollout)
        return rollout

    def _credited(self, groups: list[Group], number: int) -> _Rollout:
        scored = self._scored(groups) if self.objective.scores_rollouts or self.options.updates > 1 else {}
        experience = Experience(
            rewards_PG=torch.tensor([group.rewards for group in groups], dtype=torch.float64),
            lengths=[len(answer) for group in groups for answer in group.answers],
            old=scored.get("old", ()),
            reference=scored.get("reference", ()),
            values=scored.get("values", ()),
            number=number,
        )
        credit = self.objective.credit(experience, dict(self.state))
        given = dict(credit.given)
        if "old" in scored:
            given["old"] = scored["old"]
        self.state = dict(credit.state)
        plain = {name: [part.tolist() for part in parts] for name, parts in given.items()}
        return _Rollout(groups, plain, self.state, dict(credit.figures))

    def _scored(self, groups: Sequence[Group]) -> dict[str, list[Tensor]]:
        """Log-probabilities, the reference's and values of each answer's tokens, before the first update on them."""
        found: dict[str, list[Tensor]] = {}
        for group in groups:
            batch = pack([Sample("", tuple(_row(group, at, {}) for at in range(len(group.answers))))])
            with torch.no_grad():
                scores = self.scores(batch)
            named = {"old": scores.policy_S, "reference": scores.reference_S, "values": scores.values_S}
            for name, values_S in named.items():
                if values_S is not None:
                    rows = [values_S[batch.row_S == at].cpu() for at in range(len(group.answers))]
                    found.setdefault(name, []).extend(rows)
        return found

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
        answers = self.writer([one.tokens for one in asked], settings, group=group)
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

    def _write_down(self, number: int, rollout: _Rollout) -> None:
        if self.folder is None:
            return
        head = {"begin": number, "groups": len(rollout.groups), "state": rollout.state, "figures": rollout.figures}
        durable.append_line(self.folder / FILE, json.dumps(head))
        size = self.options.group
        for place, group in enumerate(rollout.groups):
            given = {name: parts[place * size : (place + 1) * size] for name, parts in rollout.given.items()}
            durable.append_line(self.folder / FILE, json.dumps(_as_dict(number, group, given)))

    def _written_down(self, number: int) -> _Rollout | None:
        """The rollout of this number if all of it is there; the file then ends with it, else before it."""
        if self.folder is None or not (self.folder / FILE).exists():
            return None
        rows = _whole_lines(self.folder / FILE)
        begins = {int(row["begin"]): at for at, row in enumerate(rows) if "begin" in row}
        if number not in begins:
            before = max((one for one in begins if one < number), default=None)
            self.state = dict(rows[begins[before]]["state"]) if before is not None else {}
            self._keep(rows)
            return None
        start = begins[number]
        head, mine = rows[start], rows[start + 1 : start + 1 + int(rows[start]["groups"])]
        whole = len(mine) == head["groups"] and all(row.get("rollout") == number for row in mine)
        self._keep(rows[: start + 1 + len(mine)] if whole else rows[:start])
        if not whole:
            return self._written_down(number)
        self.state = dict(head["state"])
        by_id = {one.id: one for one in self.prompts}
        given: dict[str, list[list[float]]] = {}
        for row in mine:
            for name, parts in row["given"].items():
                given.setdefault(name, []).extend(parts)
        return _Rollout([_read(row, by_id[row["id"]]) for row in mine], given, self.state, head["figures"])

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        assert self.folder is not None
        durable.write_text(self.folder / FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The file's rows up to one that was torn by a kill."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@dataclass(frozen=True, slots=True)
class _Rollout:
    """Answers with what they are credited."""

    groups: Sequence[Group]
    given: Mapping[str, Sequence[Sequence[float]]]
    """Numbers of each token of each answer, in order."""
    state: Mapping[str, float]
    figures: Mapping[str, float]

    def samples(self, number: int, *, learn_unfinished: bool) -> list[Sample]:
        """One sample a group."""
        found, place = [], 0
        for group in self.groups:
            rows = []
            for at in range(len(group.answers)):
                given = {name: parts[place] for name, parts in self.given.items()}
                if not (group.finished[at] or learn_unfinished):
                    given = {**given, "advantage": [0.0] * len(group.answers[at])}
                rows.append(_row(group, at, given))
                place += 1
            found.append(Sample(f"{group.asked.id}@{number}", tuple(rows)))
        return found


def _as_dict(number: int, group: Group, given: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    return {
        "rollout": number,
        "id": group.asked.id,
        "answers": group.answers,
        "sampled": group.sampled,
        "finished": group.finished,
        "texts": group.texts,
        "rewards": [None if math.isnan(reward) else reward for reward in group.rewards],
        "parts": [dict(parts) for parts in group.parts],
        "given": dict(given),
    }


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


def _row(group: Group, at: int, given: Mapping[str, Sequence[float]]) -> TokenRow:
    asked, answer = group.asked.tokens, group.answers[at]
    before = [0.0] * len(asked)
    told = {"sampled": group.sampled[at], **given}
    return TokenRow(
        (*asked, *answer),
        (*before, *[1.0] * len(answer)),
        group.rewards[at],
        {name: [*before, *values] for name, values in told.items()},
    )


def _seed(seed: int, number: int, again: int) -> int:
    return int(np.random.SeedSequence([seed, number, again]).generate_state(1, np.uint32)[0])
