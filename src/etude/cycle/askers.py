"""Who is asked while ways are compared, a model here or an endpoint; what its answers take, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from etude.cycle.asking import Drawing, EndpointWriter, open_writer
from etude.cycle.show import Show
from etude.endpoints.exchange import Ask, Reply
from etude.endpoints.options import EndpointOptions
from etude.errors import EtudeError
from etude.evaluation.answers import Told
from etude.evaluation.prompted import Messages, Ways, local_answers
from etude.evaluation.report import Report
from etude.models.loaded import Subject

ALONE = 8
"""Questions asked one at a time, for the time that one takes."""


class Asker(Protocol):
    """Answers questions; `title` is for progress."""

    @property
    def name(self) -> str: ...

    def answers(self, questions: Sequence[Ways], *, max_new_tokens: int, title: str) -> list[Told]:
        """An answer for each, in order."""
        ...

    def latency(self, questions: Sequence[Ways], told: Sequence[Told], *, max_new_tokens: int) -> float | None:
        """Median seconds of a question that is alone."""
        ...


@dataclass(frozen=True)
class LocalAsker:
    """A model on this machine."""

    name: str
    subject: Subject
    batch_rows: int
    show: Show

    def answers(self, questions: Sequence[Ways], *, max_new_tokens: int, title: str) -> list[Told]:
        """Greedy, many at once."""
        with self.show.progress(title) as on_progress:
            return local_answers(
                self.subject,
                questions,
                max_new_tokens=max_new_tokens,
                batch_rows=self.batch_rows,
                on_progress=on_progress,
            )

    def latency(self, questions: Sequence[Ways], told: Sequence[Told], *, max_new_tokens: int) -> float | None:
        """Asks a few again, one at a time."""
        alone = local_answers(self.subject, questions[:ALONE], max_new_tokens=max_new_tokens, batch_rows=1)
        return median(one.seconds for one in alone if one.seconds is not None)


@dataclass(frozen=True)
class EndpointAsker:
    """A model behind an endpoint; its answers are kept, so nothing is paid twice."""

    writer: EndpointWriter
    show: Show

    @property
    def name(self) -> str:
        return self.writer.name

    def answers(self, questions: Sequence[Ways], *, max_new_tokens: int, title: str) -> list[Told]:
        """A question that is refused (too long, say) is asked in its next, shorter wording.

        Raises:
            EtudeError: a question got no answer, in no wording that it has, or the budget is spent.
        """
        found: dict[int, Told] = {}
        waiting = [(place, 0) for place in range(len(questions))]
        with self.show.progress(title) as on_progress:
            while waiting:
                asks = [_ask(questions[place][wording]) for place, wording in waiting]
                again = []
                for (place, wording), reply in zip(waiting, self.writer.answers(asks), strict=True):
                    if isinstance(reply, Reply):
                        found[place] = _told(reply)
                        on_progress(len(found), len(questions))
                    elif reply.refused and wording + 1 < len(questions[place]):
                        again.append((place, wording + 1))
                    else:
                        raise EtudeError(f"question {place + 1} got no answer: {reply.reason}", where=self.name)
                waiting = again
        return [found[place] for place in range(len(questions))]

    def latency(self, questions: Sequence[Ways], told: Sequence[Told], *, max_new_tokens: int) -> float | None:
        """Of the requests that were sent, several at once."""
        seconds = [one.seconds for one in told if one.seconds is not None]
        return median(seconds) if seconds else None


def cost_here(report: Report, price_per_hour: float | None) -> float | None:
    """Of 1,000 such requests, many at once on this machine; None where nobody knows what it costs."""
    if price_per_hour is None or report.seconds is None:
        return None
    return report.seconds / len(report.items) * 1000 / 3600 * price_per_hour


def cost_there(report: Report, options: EndpointOptions) -> float | None:
    """Of 1,000 such requests by the prices in the endpoint's file; None where it names none."""
    if not options.price_asked and not options.price_answered and not options.is_local:
        return None
    each = [
        item.prompt_tokens * options.price_asked + item.answer_tokens * options.price_answered for item in report.items
    ]
    return sum(each) / len(each) / 1e6 * 1000


def _ask(messages: Messages) -> Ask:
    return Ask(tuple((message.role, message.text) for message in messages))


def _told(reply: Reply) -> Told:
    return Told(reply.text, reply.finish, reply.tokens_asked, reply.tokens_answered, reply.seconds)


def endpoint_asker(file: str, cache: Path, *, max_new_tokens: int, show: Show) -> EndpointAsker:
    """The endpoint that the file describes, asked for its likeliest answers, where it does not refuse a temperature."""
    writer = open_writer(file, cache, Drawing(temperature=0.0, max_tokens=max_new_tokens))
    assert isinstance(writer, EndpointWriter), f"{file} is no endpoint's settings"
    return EndpointAsker(writer, show)
