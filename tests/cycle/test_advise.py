"""`etude advise` on the toy model and a server on loopback: every way measured once, the better one recommended."""

from __future__ import annotations

import json

import pytest

from etude.cycle.wording import Wording
from etude.records import Conversation, Message, Origin, Prompt
from tests.cycle.conftest import LABELS, Desk, as_jsonl, rows
from tests.cycle.test_synthesize import settings
from tests.endpoints.chat_server import chat_server


def prepared(desk: Desk) -> tuple[str, ...]:
    desk.write("rows.jsonl", as_jsonl(rows(60)))
    desk.write("eval.jsonl", as_jsonl(rows(1040)[1000:]))
    desk.write("all.task.yaml", "name: all\ndata: eval.jsonl\nmetric: label\nmax_new_tokens: 6\n")
    training = ("technique=full", "training.learning_rate=3e-3", "training.batch_rows=4", "training.epochs=8")
    flags = "--train rows.jsonl --sizes 12 20 40 --examples 1 2 --price-per-hour 3.6 --price-per-row 0.1"
    return ("advise", "all.task.yaml", *training, "--models", "./base", *flags.split())


def guesses(messages: list[dict[str, str]]) -> str:
    """Always the first label, whatever is asked."""
    return LABELS[0]


def test_all_ways_are_measured_once_and_one_is_recommended(desk: Desk) -> None:
    command = prepared(desk)
    with chat_server(says=guesses) as server:
        endpoint = settings(desk, server, price_asked=10.0, price_answered=20.0)
        done = desk.etude(*command, "--endpoints", endpoint)
        assert done.code == 0, done.words
        held = json.loads((desk.folder / "advice/all/advice.json").read_text("utf-8"))
        arms = {one["name"]: one for one in held["arms"]}
        assert arms.keys() == {
            "base-zero-shot", "base-examples", "base-retrieval-bm25", "base-tuned-12", "base-tuned-20", "base-tuned-40",
            "base-tuned-40-retrieval", "big-zero-shot", "big-examples", "big-retrieval-bm25",
        }  # fmt: skip
        assert {one["items"] for one in arms.values()} == {40}
        zero, tuned = arms["big-zero-shot"], arms["base-tuned-40"]
        assert zero["score"] == 0.25
        assert tuned["score"] > 0.6, done.words
        assert zero["cost"] == pytest.approx((10 * zero["prompt_tokens"] + 20 * zero["answer_tokens"]) / 1000)
        assert zero["latency"] > 0
        assert arms["big-examples"]["prompt_tokens"] >= zero["prompt_tokens"]
        assert tuned["one_off"] == pytest.approx(tuned["training_seconds"] / 1000 + 0.1 * 40)
        assert held["recommendation"]["arm"].startswith("base-tuned")
        assert [one["rows"] for one in held["curve"]["predicted"]] == [80]
        assert "Fine-tune" in done.words
        assert "Staleness" in (desk.folder / "advice/all/advice.html").read_text("utf-8")

        asked = len(server.bodies)
        again = desk.etude(*command, "--endpoints", endpoint)
        assert again.code == 0, again.words
        assert len(server.bodies) == asked
        assert "learning from" not in again.words
        assert json.loads((desk.folder / "advice/all/advice.json").read_text("utf-8"))["arms"] == held["arms"]


def test_prompts_hold_labels_examples_and_passages_where_they_belong() -> None:
    def chat(*texts: str) -> tuple[Message, ...]:
        return tuple(Message(role, text) for role, text in zip(("user", "assistant"), texts, strict=False))

    row = [Conversation(chat(f"q{n}", f"a{n}"), Origin("r", n)) for n in range(4)]
    asked = Prompt((Message("system", "Be short."), *chat("question")), Origin("e", 1))
    few = Wording(("x", "y"), lambda questions, number: [[2, 0, 1][:number] for _ in questions], examples=row, number=3)
    [ways] = few.prepare([asked])
    labels = "Answer with exactly one of these labels and nothing else:\n- x\n- y\n\n"
    assert [[message.text for message in way][1:] for way in ways] == [
        [f"{labels}q1", "a1", "q0", "a0", "q2", "a2", "question"],
        [f"{labels}q2", "a2", "question"],
        [f"{labels}question"],
    ]
    assert all(way[0].role == "system" for way in ways)
    found = Wording((), lambda questions, number: [[1] for _ in questions], passages=("p0", "p1"), number=1)
    [ways] = found.prepare([asked])
    assert ways[0][-1].text == "Use these passages where they help:\n\np1\n\nquestion"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--models",), "argument"),
        (("--sizes", "30", "10"), "--sizes: must be rising numbers"),
        (("training.epoch=3",), "did you mean 'epochs'?"),
        (("--train", "none.jsonl"), "none.jsonl"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(desk: Desk, flags: tuple[str, ...], says: str) -> None:
    done = desk.etude(*prepared(desk), *flags)
    assert done.code == 2, done.words
    assert says in done.words
    assert not list(desk.folder.glob("advice/all/arms/*"))
