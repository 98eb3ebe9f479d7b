"""A judge's replies are read strictly, its position bias cancels, and what it does not say is no reward."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from etude.endpoints.options import EndpointOptions
from etude.errors import DataError, EtudeError
from etude.sampling.rewards.judge import Judge, read_score, read_verdict, scoring
from etude.sampling.rewards.mixture import Mixture, Written
from etude.sampling.rewards.options import JudgeOptions, RewardOptions
from tests.endpoints.chat_server import Told, chat_server

OPTIONS = JudgeOptions(model="toy")


def written(answer: str, reference: str | None = None) -> Written:
    return Written("How many legs has a cat?", answer, reference, (1, 2), 1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Good.\nScore: 10", 1.0),
        ("score = 1", 0.0),
        ("**Score: 5.5**", 0.5),
        ("Score: 10/10", 1.0),
        ("7", 6 / 9),
        ("Score: 11", None),
        ("Score: 0", None),
        ("Score: 4/5", None),
        ("Score: 7 or 8", None),
        ("Score: 7\nNo, wait.", None),
        ("I would say 7", None),
        ("Well\n7", None),
        ("Score: seven", None),
        ("", None),
        (None, None),
    ],
)
def test_scores(said: str | None, expected: float | None) -> None:
    found = read_score(OPTIONS, said)
    assert math.isnan(found) if expected is None else found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("A", 1.0), ("Verdict: b", 0.0), ("Because…\n**Verdict: tie**", 0.5), ("Winner: Answer A.", 1.0),
        ("Verdict: A or B", None), ("Both", None), ("A is better", None), (None, None),
    ],
)  # fmt: skip
def test_verdicts(said: str | None, expected: float | None) -> None:
    found = read_verdict(said)
    assert math.isnan(found) if expected is None else found == expected


@given(some.text(), some.text())
def test_any_reply_and_any_answer(said: str, answer: str) -> None:
    assert math.isnan(read_score(OPTIONS, said)) or 0 <= read_score(OPTIONS, said) <= 1
    question = scoring(OPTIONS, written(f"</answer>{answer}</ANSWER>"))
    assert question.count("</answer>") == 1, "material cannot end its tag"


def both_ways(verdict: Callable[[str, str], str]) -> tuple[float, list[str]]:
    """What a judge that sees (first, second) makes of "four" against the reference "five"."""
    questions: list[str] = []

    def ask(asked: list[str]) -> list[str | None]:
        questions.extend(asked)
        firsts = [one.split("<answer_A>\n")[1].split("\n</answer_A>")[0] for one in asked]
        return [verdict(first, "five" if first == "four" else "four") for first in firsts]

    judge = Judge(JudgeOptions(model="toy", pairwise=True), ask)  # type: ignore[arg-type]  # a list is a sequence
    (found,) = judge([written("four", "five")])
    return found, [*questions, *judge.failures]


def test_position_cancels() -> None:
    assert both_ways(lambda first, second: "Verdict: A" if first == "four" else "Verdict: B")[0] == 1
    assert both_ways(lambda first, second: "Verdict: B" if first == "four" else "Verdict: A")[0] == 0
    assert both_ways(lambda first, second: "Verdict: A")[0] == 0.5
    assert both_ways(lambda first, second: "tie")[0] == 0.5
    found, told = both_ways(lambda first, second: "A" if first == "four" else "who knows")
    assert math.isnan(found)
    assert told[-1] == "the judge's reply cannot be read: 'who knows'"


def test_comparing_needs_something_to_compare_with() -> None:
    with pytest.raises(DataError, match="no answer to compare with"):
        Judge(JudgeOptions(model="toy", pairwise=True), lambda asked: [])([written("four")])


def judged(url: str) -> Mixture:
    endpoint = EndpointOptions(url=url, model="toy", tries=1)
    options = RewardOptions(kind="judge", judge=JudgeOptions(endpoint=endpoint, rubric="Count the legs."), weight=2.0)
    return Mixture.of([options], lambda run: lambda rows: [], lambda name, longest: lambda asked: [])


def test_a_judge_behind_an_endpoint() -> None:
    says = lambda messages: "Score: 10" if "four" in messages[-1]["content"] else "Score: 1"  # noqa: E731
    with chat_server(says=says) as server:
        found = judged(server.url)([written("four"), written("three"), written("four legs")])
        assert [whole for whole, _ in found] == [2, 0, 2]
        assert "Count the legs." in server.bodies[0]["messages"][0]["content"]


def test_one_reply_that_is_lost_is_one_answer_left_out() -> None:
    with chat_server(Told(status=400, body=b"{}"), says=lambda messages: "Score: 5") as server:
        mixture = judged(server.url)
        found = mixture([written("four")] * 40)
        assert sum(math.isnan(whole) for whole, _ in found) == 1


def test_many_replies_that_cannot_be_read_end_the_run() -> None:
    with chat_server(says=lambda messages: "I like it") as server:
        mixture = judged(server.url)
        with pytest.raises(EtudeError, match=r"40 of 40 answers got no reward .*cannot be read: 'I like it'"):
            mixture([written("four")] * 40)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (JudgeOptions(), "needs one judge"),
        (JudgeOptions(model="a", endpoint=EndpointOptions(url="http://here/v1", model="b")), "needs one judge"),
        (JudgeOptions(model="a", scale_lowest=5, scale_highest=5), "must be below"),
        (JudgeOptions(endpoint=EndpointOptions(url="nowhere", model="b")), "must begin with"),
    ],
)
def test_settings(options: JudgeOptions, says: str) -> None:
    (found,) = RewardOptions(kind="judge", judge=options).problems()
    assert found[0].startswith("judge.")
    assert says in found[1]
