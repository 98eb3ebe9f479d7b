"""Who writes the answers to learn from: the policy here, or a server that it is pushed to before each batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from etude import durable
from etude.endpoints.vllm import Draw, Drawn, Vllm
from etude.errors import ModelError
from etude.models.loaded import Subject
from etude.sampling.answer import Answer, Completion
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = "served"
"""Where adapters lie that a server has loaded, in the run's folder."""


class Writer(Protocol):
    """Answers prompts as the policy would by its newest weights."""

    @property
    def same_everywhere(self) -> bool:
        """Whether every process gets the very same answers."""
        ...

    def __call__(self, prompts: Sequence[Sequence[int]], options: SampleOptions, *, group: int) -> list[Completion]:
        """`group` answers to each prompt, in the prompts' order."""
        ...


@dataclass(frozen=True)
class Here:
    """The sampler of this process."""

    subject: Subject
    end_ids: frozenset[int]
    same_everywhere: bool = True

    def __call__(self, prompts: Sequence[Sequence[int]], options: SampleOptions, *, group: int) -> list[Completion]:
        with self.subject.use() as model:
            return sample(model, [one for one in prompts for _ in range(group)], options, end_ids=self.end_ids)


@dataclass
class Served:
    """A vLLM server; the policy goes there as an adapter that is named by its content, so that no cache there, and no
    answer, can be an older policy's by its name."""

    server: Vllm
    save: Callable[[Path], None]
    """Writes the policy's adapter in PEFT's format."""
    folder: Path
    """Of the pushed adapters; nobody else's."""
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    same_everywhere: bool = False
    pushed: str | None = None
    """The adapter that the server answers by."""

    def __call__(self, prompts: Sequence[Sequence[int]], options: SampleOptions, *, group: int) -> list[Completion]:
        adapter = self.push()
        draw = Draw(
            group=group,
            max_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            end_ids=self.end_ids,
        )
        seeds = [seed_of(options.seed, at) for at in range(len(prompts))]
        at_once = max(1, options.batch_rows // group)
        answered = self.server.answers(adapter, prompts, draw, seeds=seeds, at_once=at_once)
        return [
            self._completion(prompt, drawn, options)
            for prompt, group_drawn in zip(prompts, answered, strict=True)
            for drawn in group_drawn
        ]

    def push(self) -> str:
        """The name of the newest policy's adapter, loaded there; older ones are unloaded, and their folders removed.

        Raises:
            EndpointError: the server does not take it.
        """
        durable.make_directory(self.folder, exist_ok=True)
        building = self.folder / "next"
        durable.remove(building)
        self.save(building)
        name = f"etude-{_content(building)}"
        if name == self.pushed:
            durable.remove(building)
            return name
        older = [one.name for one in self.folder.iterdir() if one.is_dir() and one.name not in (name, building.name)]
        for one in older:  # those of a run that was killed, too
            self.server.unload(one)
            durable.remove(self.folder / one)
        durable.remove(self.folder / name)
        durable.replace(building, self.folder / name)
        self.server.load(name, self.folder / name)
        self.pushed = name
        return name

    def _completion(self, prompt: Sequence[int], drawn: Drawn, options: SampleOptions) -> Completion:
        """Read token by token by the same rules as an answer that is written here.

        Raises:
            ModelError: it ends where it should go on, or goes on where it should end.
        """
        answer = Answer(0, tuple(prompt), self.tokenizer, replace(options, stop=()), end_ids=self.end_ids)
        for token, logprob in zip(drawn.tokens, drawn.logprobs, strict=True):
            if answer.finish is not None:
                break
            answer.add(token, logprob)
        if answer.finish is None or len(answer.tokens) != len(drawn.tokens):
            raise ModelError(
                f"an answer of {len(drawn.tokens)} tokens ends neither at an end token nor at {options.max_new_tokens}",
                where=self.server.options.url,
                remedy="is its context (--max-model-len) long enough for prompt and answer?",
            )
        return answer.completion()


def seed_of(seed: int, at: int) -> int:
    """Of the answers to one prompt."""
    return int(np.random.SeedSequence([seed, at]).generate_state(1, np.uint32)[0])


def _content(folder: Path) -> str:
    """The adapter by what is in its files."""
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]
