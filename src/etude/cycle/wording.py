"""Prompts with more in them: the labels to choose from, examples that are like the question, passages that may help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from etude.data.retrieval import Search
from etude.evaluation.prompted import Messages, Ways
from etude.json_values import json_sha256
from etude.records import Conversation, Prompt

Prepare = Callable[[Sequence[Prompt]], list[Ways]]
LABELS = "Answer with exactly one of these labels and nothing else:\n{labels}\n\n"
PASSAGES = "Use these passages where they help:\n\n{passages}\n\n"


@dataclass(frozen=True)
class Wording:
    """What stands in a prompt beside the question."""

    labels: tuple[str, ...] = ()
    """Named before the question."""
    search: Search | None = None
    """Finds examples, or passages."""
    examples: Sequence[Conversation] = ()
    """Rows that become turns before the question."""
    passages: Sequence[str] = ()
    """Texts that are put before the question."""
    number: int = 0
    """Of examples or passages."""
    found_by: str = ""
    """How `search` finds, in a word, with a hash of the model that it uses, if it uses one."""

    def facts(self) -> dict[str, object]:
        """All that the prompts depend on beside the questions, JSON-able; long texts by hash."""
        found: dict[str, object] = {"labels": [LABELS, *self.labels] if self.labels else []}
        if self.search is None or not self.number:
            return found
        if self.passages:
            return {**found, "number": self.number, "found_by": self.found_by,
                    "passages": [PASSAGES, json_sha256(list(self.passages))]}  # fmt: skip
        examples = [[(message.role, message.text) for message in row.messages] for row in self.examples]
        return {**found, "number": self.number, "found_by": self.found_by, "examples": json_sha256(examples)}

    def prepare(self, prompts: Sequence[Prompt]) -> list[Ways]:
        """Each prompt with as many examples as wanted, with half of them, and so on down to none."""
        if self.search is None or not self.number:
            return [(self._worded(prompt.messages, (), ()),) for prompt in prompts]
        found = self.search([question_of(prompt.messages) for prompt in prompts], self.number)
        return [
            tuple(self._with(prompt.messages, near[:number]) for number in _halving(len(near)))
            for prompt, near in zip(prompts, found, strict=True)
        ]

    def _with(self, messages: Messages, near: Sequence[int]) -> Messages:
        if self.passages:
            return self._worded(messages, (), [self.passages[place] for place in near])
        # The most alike stands last, next to the question.
        return self._worded(messages, [self.examples[place] for place in reversed(near)], ())

    def _worded(self, messages: Messages, examples: Sequence[Conversation], passages: Sequence[str]) -> Messages:
        system = tuple(message for message in messages if message.role in ("system", "developer"))
        rest = tuple(message for message in messages if message not in system)
        before = LABELS.format(labels="\n".join(f"- {label}" for label in self.labels)) if self.labels else ""
        if passages:
            before += PASSAGES.format(passages="\n\n".join(passages))
        turns = tuple(
            message for row in examples for message in row.messages if message.role not in ("system", "developer")
        )
        made = [*turns, *rest]
        first = next((at for at, message in enumerate(made) if message.role == "user"), None)
        if before and first is not None:
            made[first] = replace(made[first], content=f"{before}{made[first].text}")
        return (*system, *made)


def question_of(messages: Messages) -> str:
    """What is asked, for a search."""
    return "\n".join(message.text for message in messages if message.role == "user")


def _halving(number: int) -> list[int]:
    found = [number]
    while found[-1]:
        found.append(found[-1] // 2)
    return found
