"""`etude advise` on the toy model and a server on loopback: every way measured once, the better one recommended."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from etude.cycle.wording import Wording
from etude.records import Conversation, Message, Origin, Prompt
from tests.cycle.conftest import LABELS, Desk, as_jsonl, rows
from tests.cycle.test_synthesize import settings
from tests.endpoints.chat_server import chat_server
from tests.toy import toy_module, toy_tokenizer


def prepared(desk: Desk) -> tuple[str, ...]:
    desk.write("rows.jsonl", as_jsonl(rows(60)))
    desk.write("eval.jsonl", as_jsonl(rows(1024)[1000:]))
    desk.write("all.task.yaml", "name: all\ndata: eval.jsonl\nmetric: label\nmax_new_tokens: 6\n")
    training = ("technique=full", "training.learning_rate=3e-3", "training.batch_rows=4", "training.epochs=8")
    flags = "--train rows.jsonl --sizes 12 40 --examples 1 2 --price-per-hour 3.6 --price-per-row 0.1"
    return ("advise", "all.task.yaml", *training, "--models", "./base", *flags.split())


def guesses(messages: list[dict[str, str]]) -> str:
    """Always the first label, whatever is asked."""
    return LABELS[0]


def advised(desk: Desk) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((desk.folder / "advice/all/advice.json").read_text("utf-8"))
    return held


def test_all_ways_are_measured_once_whatever_happens_and_one_is_recommended(desk: Desk) -> None:
    toy_module(seed=1, hidden=32).save_pretrained(desk.folder / "other")
    toy_tokenizer().save_pretrained(desk.folder / "other")
    (desk.folder / "handbook").mkdir()
    desk.write("handbook/money.txt", "Whoever writes about money wants a refund.\n\nWhat has arrived is a card.\n")
    command = (*prepared(desk), "--models", "./base", "./other", "--documents", "handbook", "--embedder", "./other")
    with chat_server(says=guesses) as server:
        endpoint = settings(desk, server, model="base", price_asked=10.0, price_answered=20.0)
        started = desk.start(*command, "--endpoints", endpoint)
        deadline = time.monotonic() + 300
        while not list(desk.folder.glob("advice/all/runs/other-12-*/metrics.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(started.pid, signal.SIGKILL)
        assert started.wait().code == -signal.SIGKILL

        done = desk.etude(*command, "--endpoints", endpoint)
        assert done.code == 0, done.words
        assert "base, fine-tuned on 12 rows:" not in done.words, "was measured before"
        held = advised(desk)
        arms = {one["name"]: one for one in held["arms"]}
        prompted = ("zero-shot", "examples", "retrieval-bm25", "retrieval-embeddings")
        tuned = {"base-tuned-12", "base-tuned-40", "base-tuned-40-retrieval", "other-tuned-12"}
        assert arms.keys() == tuned | {"other-zero-shot"} | {
            f"{who}-{way}" for who in ("base", "base-of-big.yaml") for way in prompted
        }  # fmt: skip
        assert {one["items"] for one in arms.values()} == {24}
        zero, best = arms["base-of-big.yaml-zero-shot"], arms["base-tuned-40"]
        assert (zero["score"], zero["model"]) == (0.25, "base of big.yaml")
        assert best["score"] > 0.6, done.words
        assert zero["cost"] == pytest.approx((10 * zero["prompt_tokens"] + 20 * zero["answer_tokens"]) / 1000)
        assert zero["latency"] > 0
        assert arms["base-of-big.yaml-examples"]["prompt_tokens"] >= zero["prompt_tokens"]
        assert best["one_off"] == pytest.approx(best["training_seconds"] / 1000 + 0.1 * 40)
        found = held["recommendation"]
        assert found["arm"].startswith("base-tuned")
        # 4 fine-tuned and 9 prompted arms; either base could have brought as many.
        assert "the best of 8 against the best of 18" in found["verdict"]["method"]
        assert [one["model"] for one in held["bases"]] == ["./base", "./base", "./other", "./other"]
        assert any(reason.startswith("Of the base models after the same training") for reason in found["reasons"])
        passages = [one["messages"][-1]["content"] for one in server.bodies if "wants a refund" in str(one)]
        assert passages, "passages are found by words and by meaning"
        assert "Fine-tune" in done.words
        assert "Staleness" in (desk.folder / "advice/all/advice.html").read_text("utf-8")

        asked = len(server.bodies)
        again = desk.etude(*command, "--endpoints", endpoint, "--price-per-row", "0.2")
        assert again.code == 0, again.words
        assert len(server.bodies) == asked
        assert "learning from" not in again.words
        assert "loading" not in again.words, "a price is no reason to ask again"
        dearer = {one["name"]: one for one in advised(desk)["arms"]}
        assert dearer["base-tuned-40"]["one_off"] == pytest.approx(best["one_off"] + 0.1 * 40)
        free = ("one_off", "cost")
        for name, one in dearer.items():
            assert {key: one[key] for key in one if key not in free} == {
                key: arms[name][key] for key in one if key not in free
            }


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
        (("output=runs/x",), "output: is set by advice; use --out"),
        (("--models", "./base", "base"), "models: base is named twice"),
        (("--embedder", "./none"), "none"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(desk: Desk, flags: tuple[str, ...], says: str) -> None:
    done = desk.etude(*prepared(desk), *flags)
    assert done.code == 2, done.words
    assert says in done.words
    assert not list(desk.folder.glob("advice/all/arms/*"))
