"""New rows in rounds: written, checked, and as many asked for again as are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from etude.data.fingerprint import normal
from etude.data.inputs import Row
from etude.data.synthesis import templates
from etude.data.synthesis.asking import Asked, Writer
from etude.data.synthesis.checking import Candidate, Fresh, Rules
from etude.data.synthesis.judging import UNCHECKED, Verdict, judged
from etude.data.synthesis.seeds import Seed, Seeds, take_seeds
from etude.data.work import Ledger, Rows
from etude.data.write import columns_for
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.json_values import parse_object, same
from etude.records import Conversation, Message

if TYPE_CHECKING:
    from etude.data.synthesize import Synthesize

SAMPLES_OF_A_SEED = 1_000_000
"""Answers to one prompt that are told apart before the next seed of a synthesis has its own."""


def made_rows(rows: Rows, ledger: Ledger, options: Synthesize, asked: Asked) -> Iterator[Row]:
    """As many new rows as are wanted, or as the attempts and the budget allow."""
    seeds = take_seeds(rows, ledger, longest=options.passage_characters, seed=options.seed)
    making = _Making(rows, ledger, options, asked, seeds)
    kept = attempts = 0
    with rows.progress("making rows") as on_progress:
        while kept < options.rows and attempts < options.most_attempts and not asked.ended:
            number = min(options.rows - kept, options.most_attempts - attempts)
            for row in making.round(range(attempts, attempts + number)):
                kept += 1
                yield row
            attempts += number
            on_progress(kept, options.rows)
    making.tell(kept, attempts)


@dataclass
class _Making:
    """One synthesis on its way."""

    rows: Rows
    ledger: Ledger
    options: Synthesize
    asked: Asked
    seeds: Seeds

    def __post_init__(self) -> None:
        own = {"template": self.options.template, "judge_template": self.options.judge_template}
        places = "passage" if self.seeds.documents else "examples"
        self._template = templates.FROM_PASSAGE if self.seeds.documents else templates.FROM_SEEDS
        self._judge_template = templates.JUDGE
        if own["template"] is not None:
            self._template = templates.read_template(own["template"], needs=(places,), setting="--template")
        if own["judge_template"] is not None:
            self._judge_template = templates.read_template(
                own["judge_template"], needs=("prompt", "completion"), setting="--judge-template"
            )
        self._again = templates.ANSWER_FROM_PASSAGE if self.seeds.documents else templates.ANSWER_LIKE_SEEDS
        self._rules = Rules(self.options, self.seeds)
        self._fresh = Fresh(self.rows, self.options, self.seeds)
        self._hash = sha256(self._template.encode()).hexdigest()[:16]

    def round(self, attempts: Sequence[int]) -> Iterator[Row]:
        """The rows that come of these attempts; what fails is left to the ledger."""
        made = self._written(attempts)
        made = self._kept(made, [self._rules.verdict(one) for one in made])
        made = self._kept(made, self._fresh.verdicts(made)) if made else []
        if self.options.agree:
            made = self._agreed(made)
        if self.asked.judge is not None:
            made = self._judged(made, self.asked.judge)
        self._fresh.kept += made
        for one in made:
            self.ledger.changed("made")
            yield self._row(one)

    def tell(self, kept: int, attempts: int) -> None:
        """What came of it, for the manifest and for whoever asked."""
        left = self.asked.ended or ("" if kept == self.options.rows else f"all {attempts} attempts were made")
        self.ledger.rewritten = True
        self.ledger.notes["synthesis"] = {
            **self.asked.said(),
            "attempts": attempts,
            "seeds": self.seeds.number,
            "template": self._template,
            **({"judge_template": self._judge_template} if self.asked.judge is not None else {}),
            **({"answer_template": self._again} if self.options.agree else {}),
        }
        if left:
            self.ledger.says.append(f"{kept:,} of {self.options.rows:,} rows: {left}")
        if self.asked.ended:
            self.ledger.says.append(
                "the same command with a larger budget goes on; what was answered is not paid again"
            )

    def _written(self, attempts: Sequence[int]) -> list[Candidate]:
        """What the model wrote and can be read as an example."""
        drawn = [self.seeds.draw(attempt, self.options.shots, self.options.seed) for attempt in attempts]
        first = self.options.seed * SAMPLES_OF_A_SEED  # few seeds make the same prompt again and again
        asks = [self._ask(self._template, seeds, sample=first + at) for at, seeds in zip(attempts, drawn, strict=True)]
        found = []
        for attempt, seeds, reply in zip(attempts, drawn, self.asked.answers(self.asked.writer, asks), strict=True):
            if reply is None:
                continue  # never asked: the budget was spent before
            if isinstance(reply, NoReply):
                self._lost(seeds, {"attempt": attempt}, "no answer", found=reply.reason)
                continue
            example = templates.read_example(reply.text)
            if example is None or reply.finish == "length":
                reason = "cut off at max_tokens" if reply.finish == "length" else "no example in the answer"
                self._lost(seeds, {"answer": reply.text, "synthesis": self._said(attempt, seeds, reply)}, reason)
                continue
            found.append(Candidate(attempt, seeds, reply, *example))
        return found

    def _agreed(self, made: Sequence[Candidate]) -> list[Candidate]:
        """Those whose prompt, asked again and again, mostly gets the same answer
        (self-consistency, https://arxiv.org/abs/2203.11171)."""
        number = self.options.agree
        asks = [self._ask(self._again, one.seeds, prompt=one.prompt, sample=at) for one in made for at in range(number)]
        replies = self.asked.answers(self.asked.writer, asks)
        verdicts: list[Verdict | None] = []
        noted = []
        for place, one in enumerate(made):
            own = replies[place * number : (place + 1) * number]
            agreeing = sum(isinstance(reply, Reply) and same_answer(reply.text, one.completion) for reply in own)
            facts: dict[str, object] = {"agree": f"{agreeing} of {number}"}
            failed = (UNCHECKED, {}) if None in own else ("answers do not agree", facts)
            verdicts.append(None if 2 * agreeing > number else failed)
            noted.append(replace(one, notes={**one.notes, **facts}))
        return self._kept(noted, verdicts)

    def _judged(self, made: Sequence[Candidate], judge: Writer) -> list[Candidate]:
        """Those that the judge gives enough."""
        texts = [{"prompt": one.prompt, "completion": one.completion} for one in made]
        asks = [Ask((("user", templates.filled(self._judge_template, text)),)) for text in texts]
        found = [
            judged(reply, enough=self.options.enough, judge=judge.name) for reply in self.asked.answers(judge, asks)
        ]
        noted = [replace(one, notes={**one.notes, **facts}) for one, (_, facts) in zip(made, found, strict=True)]
        return self._kept(noted, [verdict for verdict, _ in found])

    def _ask(self, template: str, seeds: Sequence[Seed], *, sample: int, prompt: str = "") -> Ask:
        texts = {"prompt": prompt, "passage": seeds[0].prompt}
        texts["examples"] = "\n".join(templates.example(seed.prompt, seed.answer) for seed in seeds)
        return Ask((("user", templates.filled(template, texts)),), sample=sample)

    def _kept(self, made: Sequence[Candidate], verdicts: Sequence[Verdict | None]) -> list[Candidate]:
        for one, verdict in zip(made, verdicts, strict=True):
            if verdict is not None:
                reason, facts = verdict
                self.ledger.drop(self._row(one), reason, **facts)
        return [one for one, verdict in zip(made, verdicts, strict=True) if verdict is None]

    def _lost(self, seeds: Sequence[Seed], columns: dict[str, Any], reason: str, **facts: object) -> None:
        self.ledger.drop(seeds[0].row.changed(columns), reason, **facts)

    def _row(self, made: Candidate) -> Row:
        """The example as a chat, with where it comes from; it goes where its first seed goes, and is never held out."""
        first = made.seeds[0]
        said = (Message("user", made.prompt), Message("assistant", made.completion))
        messages = said if first.system is None else (first.system, *said)
        columns = columns_for(Conversation(messages, first.row.origin))
        if first.row.columns.get("group") is not None:
            columns = {**columns, "group": first.row.columns["group"]}
        provenance = {**self._said(made.attempt, made.seeds, made.reply), **made.notes}
        return first.row.changed({**columns, "augmented_from": first.origin, "synthesis": provenance})

    def _said(self, attempt: int, seeds: Sequence[Seed], reply: Reply) -> dict[str, Any]:
        writer = self.asked.writer
        return {
            "attempt": attempt,
            "seed": self.options.seed,
            "from": [seed.origin for seed in seeds],
            "template": self._hash,
            "model": writer.name,
            "tokens_asked": reply.tokens_asked,
            "tokens_answered": reply.tokens_answered,
            "cost": writer.cost(reply),
        }


def same_answer(one: str, other: str) -> bool:
    """Equal as JSON objects, or as texts but for case and white space."""
    first, second = parse_object(one), parse_object(other)
    if first is not None and second is not None:
        return same(first, second)
    return normal(one) == normal(other)
