"""`etude data synthesize` against a real server on loopback and the toy model: what passes, what fails, going on."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from etude.cycle.asking import Drawing, LocalWriter, open_judge, open_writer, reward_of
from etude.records import Message
from tests.cycle.conftest import LABELS, Desk, as_jsonl, lines_of
from tests.endpoints.chat_server import ChatServer, Told, chat_server

SUBJECTS = ("refunds", "parcels", "passwords", "vouchers", "invoices", "batteries", "addresses", "keyboards")


def example(prompt: str, completion: str) -> str:
    return json.dumps({"prompt": prompt, "completion": completion})


def invented(messages: list[dict[str, str]]) -> str:
    """A new example for each prompt, the same for the same prompt."""
    digest = sha256(messages[-1]["content"].encode()).digest()
    return example(f"{digest.hex()[:24]} about {SUBJECTS[digest[0] % 8]}", "refund" if digest[1] % 2 else "card")


def settings(desk: Desk, server: ChatServer, name: str = "big.yaml", **more: object) -> str:
    held: dict[str, object] = {"url": server.url, "model": "big", "temperature": 0.8, **more}
    desk.write(name, "".join(f"{key}: {value}\n" for key, value in held.items()))
    return name


def made(desk: Desk, name: str = "new.jsonl") -> list[dict[str, Any]]:
    return lines_of(desk.folder / name)


def reasons(desk: Desk, name: str = "new.jsonl") -> list[str]:
    return [row["reason"] for row in lines_of(desk.folder / f"{name}.dropped.jsonl")]


def synthesize(desk: Desk, *more: str, source: str = "train.jsonl", out: str = "new.jsonl") -> Any:
    return desk.etude("data", "synthesize", source, "-o", out, *more)


def test_rows_are_made_with_their_provenance_and_can_be_trained_on(desk: Desk) -> None:
    with chat_server(says=invented) as server:
        model = settings(desk, server, price_asked=1.0, price_answered=2.0)
        done = synthesize(desk, "--model", model, "--rows", "10", "--seed", "3")
    assert done.code == 0, done.words
    rows = made(desk)
    assert len(rows) == len({row["messages"][0]["content"] for row in rows}) == 10
    for row in rows:
        said = row["synthesis"]
        assert row["augmented_from"] == said["from"][0]
        assert len({*said["from"]}) == 3
        assert (said["model"], said["seed"], said["cost"]) == ("big", 3, 20 / 1e6)
        body = next(body for body in server.bodies if invented(body["messages"]) == example(*texts(row)))
        for origin in said["from"]:
            seed = made(desk, "train.jsonl")[int(origin.rpartition(":")[2]) - 1]
            assert example(*texts(seed)) in body["messages"][0]["content"]
    notes = json.loads((desk.folder / "new.jsonl.manifest.json").read_text("utf-8"))["notes"]["synthesis"]
    assert notes["finished"] is True
    assert "{examples}" in notes["template"]
    assert notes["used"]["big"]["answers"] == len(server.bodies)
    assert desk.etude("data", "show", "new.jsonl").code == 0


def texts(row: dict[str, Any]) -> tuple[str, str]:
    prompt, answer = (message["content"] for message in row["messages"])
    return prompt, answer


def test_each_failure_is_kept_with_its_reason(desk: Desk) -> None:
    desk.write("eval.jsonl", as_jsonl([{"prompt": "where is the parcel that my aunt sent", "completion": "x"}]))
    desk.write(
        "seeds.jsonl", as_jsonl([{"prompt": f"a long question number {n}?", "completion": "card"} for n in range(3)])
    )
    told = [
        "no json",
        example("a long question number 1?", "card"),
        example("tell me where is the parcel that my aunt sent", "card"),
        example("something entirely different", "card"),
        example("something entirely different!", "card"),
        example("may I ask about dogs", "dog"),
        example("?", "card"),
    ]
    script = [Told(body=content(text)) for text in told]
    script.append(Told(body=content(example("half of an answ", "card"), finish="length")))
    script.append(Told(status=400, body=b'{"error": {"message": "too long"}}'))
    with chat_server(*script, says=invented) as server:
        model = settings(desk, server, concurrency=1)
        done = synthesize(
            desk, "--model", model, "--rows", "9", "--attempts", "9", "--known-answers", "--against", "eval.jsonl",
            source="seeds.jsonl",
        )  # fmt: skip
    assert done.code == 0, done.words
    assert [texts(row)[0] for row in made(desk)] == ["something entirely different"]
    assert sorted(reasons(desk)) == sorted(
        ["no example in the answer", "copy", "leak", "near copy", "answer that no seed has", "prompt too short",
         "cut off at max_tokens", "no answer"]
    )  # fmt: skip
    assert "1 of 9 rows: all 9 attempts were made" in done.words


def content(text: str, finish: str = "stop") -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}], "usage": usage}).encode()


def test_answers_must_have_the_schema_and_the_form_of_the_seeds(desk: Desk) -> None:
    seeds = [{"prompt": f"order {n} things", "completion": json.dumps({"count": n})} for n in range(3)]
    desk.write("seeds.jsonl", as_jsonl(seeds))
    schema = {"properties": {"count": {"type": "integer", "minimum": 0}}, "required": ["count"]}
    desk.write("schema.json", json.dumps(schema))
    told = [
        example("please send me eight of them", '{"count": 8}'),
        example("I will take the blue one", '{"count": -1}'),
        example("nothing more for today", '{"colour": "blue"}'),
        example("what is your name", "Anna"),
    ]
    with chat_server(*[Told(body=content(text)) for text in told]) as server:
        model = settings(desk, server, concurrency=1)
        done = synthesize(
            desk, "--model", model, "--rows", "4", "--attempts", "4", "--schema", "schema.json", source="seeds.jsonl"
        )
        assert done.code == 0, done.words
        assert [texts(row)[1] for row in made(desk)] == ['{"count": 8}']
        assert sorted(reasons(desk)) == ["answer breaks the schema", *["answer of another form than the seeds'"] * 2]
        desk.write("schema.json", '{"type": 3}')
        wrong = synthesize(desk, "--model", model, "--schema", "schema.json", out="x.jsonl")
    assert wrong.code == 2
    assert "is no JSON schema" in wrong.error


def test_agreement_and_a_judge_decide(desk: Desk) -> None:
    def says(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        if asked.startswith("Rate"):
            return "2" if "parcels" in asked else "5"
        if "Answer the next request" in asked:
            return "card" if "invoices" not in asked else "dog"
        return invented(messages).replace('"refund"', '"card"')

    with chat_server(says=says) as server:
        model = settings(desk, server)
        done = synthesize(desk, "--model", model, "--judge", model, "--agree", "3", "--rows", "20")
    assert done.code == 0, done.words
    kept = [texts(row)[0] for row in made(desk)]
    assert len(kept) == 20
    assert not any("parcels" in prompt or "invoices" in prompt for prompt in kept)
    assert {(row["synthesis"]["agree"], row["synthesis"]["score"]) for row in made(desk)} == {("3 of 3", 5)}
    assert {"answers do not agree", "judged too low"} <= {*reasons(desk)}


def test_documents_become_questions_about_their_passages(desk: Desk) -> None:
    (desk.folder / "handbook").mkdir()
    desk.write("handbook/a.txt", "Refunds take five days.\n\nParcels leave at noon.")
    desk.write("handbook/b.txt", "The shop opens at nine.")

    def says(messages: list[dict[str, str]]) -> str:
        return example(f"when, {messages[-1]['content'].split(chr(10))[2]}", "then")

    with chat_server(says=says) as server:
        done = synthesize(
            desk, "--model", settings(desk, server), "--rows", "3", "--passage-characters", "25", source="handbook"
        )
    assert done.code == 0, done.words
    assert sorted(texts(row)[0] for row in made(desk)) == [
        "when, Parcels leave at noon.", "when, Refunds take five days.", "when, The shop opens at nine.",
    ]  # fmt: skip
    assert {row["synthesis"]["from"][0].rpartition("/")[2] for row in made(desk)} == {"a.txt:1", "b.txt:1"}


def test_a_spent_budget_leaves_what_is_whole_and_the_same_command_goes_on(desk: Desk) -> None:
    with chat_server(says=invented) as server:
        model = settings(desk, server)
        first = synthesize(desk, "--model", model, "--rows", "12", "--most-requests", "5")
        assert first.code == 0, first.words
        assert "5 of 12 rows: the budget is spent" in first.words
        assert len(made(desk)) == len(server.bodies) == 5
        begun = made(desk)
        second = synthesize(desk, "--model", model, "--rows", "12", "--most-requests", "50")
        assert second.code == 0, second.words
        assert len(made(desk)) == 12
        assert made(desk)[:5] == begun
        assert len(server.bodies) == 12, "nothing is asked twice"
        third = synthesize(desk, "--model", model, "--rows", "12")
    assert third.code == 2
    assert "is there already" in third.error


def test_a_killed_command_goes_on_where_it_was(desk: Desk) -> None:
    with chat_server(says=invented) as server:
        assert synthesize(desk, "--model", settings(desk, server), "--rows", "30", out="whole.jsonl").code == 0
    slow = [Told(wait=0.05)] * 100
    with chat_server(*slow, says=invented) as server:
        model = settings(desk, server, concurrency=2)
        arguments = ("data", "synthesize", "train.jsonl", "-o", "new.jsonl", "--model", model, "--rows", "30")
        started = desk.start(*arguments)
        while len(server.bodies) < 12:
            time.sleep(0.01)
        os.kill(started.pid, signal.SIGKILL)
        assert started.wait().code == -9
        assert not (desk.folder / "new.jsonl").exists()
        before = len(server.bodies)
        done = desk.etude(*arguments)
        assert done.code == 0, done.words
        attempts = json.loads((desk.folder / "new.jsonl.manifest.json").read_text("utf-8"))["notes"]["synthesis"]
        assert len(server.bodies) <= attempts["attempts"] + 2 + 1, "what was answered is not asked again"
        assert before >= 12
    assert made(desk) == made(desk, "whole.jsonl")


def test_pairs_by_a_judge_hold_the_best_and_the_worst_answer(desk: Desk) -> None:
    answers = ["meh", "great", "awful", "fine"]

    def says(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        return str(next(score for word, score in scores.items() if word in asked)) if "Rate" in asked else answers[0]

    scores = {"great": 5, "fine": 4, "meh": 3, "awful": 1}
    rows = [{"prompt": "how is it", "completion": "?"}]
    desk.write("prompts.jsonl", as_jsonl(rows))
    with chat_server(*[Told(body=content(text)) for text in answers], says=says) as server:
        model = settings(desk, server, concurrency=1)
        done = synthesize(desk, "--model", model, "--judge", model, "--best-of", "4", source="prompts.jsonl")
    assert done.code == 0, done.words
    [row] = made(desk)
    assert row["chosen"][0]["content"] == "great"
    assert row["rejected"][0]["content"] == "awful"
    assert row["synthesis"]["scores"] == [3, 5, 1, 4]
    assert row["synthesis"]["judge"] == "big"


def test_a_model_that_writes_nothing_usable_leaves_its_answers_and_reasons(desk: Desk) -> None:
    done = synthesize(desk, "--model", "./base", "--rows", "2", "--attempts", "3", "--shots", "1", "--max-tokens", "8")
    assert done.code == 2
    assert "no row would be left" in done.error
    assert len(reasons(desk)) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--best-of", "4"), "needs either --judge or --reward"),
        (("--reward", "runs/x"), "for --best-of only"),
        (("--least-score", "3"), "needs a --judge"),
        (("--best-of", "4", "--shots", "2", "--reward", "runs/x"), "--shots: counts for new rows only"),
        (("--rows", "0", "--threshold", "2"), "--rows: must be at least 1"),
        (("--most-cost", "3"), "limits an endpoint"),
    ],
)
def test_settings_that_would_be_ignored_are_errors(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    done = synthesize(desk, "--model", "./base", *arguments)
    assert done.code == 2
    assert says in done.error


def test_a_student_imitates_the_answers_of_a_teacher(desk: Desk) -> None:
    def taught(messages: list[dict[str, str]]) -> str:
        return "" if messages[-1]["content"].endswith(" 7") else "Paris."

    with chat_server(says=taught) as server:
        done = synthesize(desk, "--model", settings(desk, server), "--answers", "--rows", "50")
    assert done.code == 0, done.words
    rows, given = made(desk), made(desk, "train.jsonl")
    asked = [prompt for prompt, _ in map(texts, given) if not prompt.endswith(" 7")]
    assert [texts(row) for row in rows] == [(prompt, "Paris.") for prompt in asked]
    assert {row["synthesis"]["model"] for row in rows} == {"big"}
    assert reasons(desk) == ["no whole answer"]
    desk.run_file(
        technique="full",
        data={"train": "new.jsonl", "holdout": 0.1},
        training={"steps": 40, "batch_rows": 8, "learning_rate": 3e-3},
        evaluation={"base": False},
    )
    desk.write("toy.task.yaml", "name: toy\ndata: new.jsonl\nmetric: exact_match\nmax_new_tokens: 8\nlimit: 8\n")
    assert desk.etude("train", "toy.yaml").code == 0
    report = lines_of(desk.folder / "runs/toy/reports/toy.jsonl")
    assert report[0]["report"]["summary"]["exact_match"] > 0.8, "it says what the teacher said"
    wrong = synthesize(desk, "--model", "runs/toy", "--answers", "--shots", "2", out="other.jsonl")
    assert wrong.code == 2
    assert "counts for new rows only; answers is for the given prompts" in wrong.error
    wrong = synthesize(desk, "--model", "runs/toy", "--answers", "--judge", "runs/toy", out="other.jsonl")
    assert "--judge: rates new rows, or answers for --best-of" in wrong.error


def test_pairs_by_a_reward_model_hold_what_it_likes_and_dislikes_most(desk: Desk, finished: Desk) -> None:
    """The writer is warm enough to answer differently; the reward model is asked once more, by itself."""
    pairs = [{"prompt": f"what is {n}?", "chosen": LABELS[n % 4], "rejected": "no no no"} for n in range(16)]
    desk.write("pairs.jsonl", as_jsonl(pairs))
    desk.write("prompts.jsonl", as_jsonl([{"prompt": f"what is {n}?", "completion": "x"} for n in range(12)]))
    desk.run_file(
        data={"train": "pairs.jsonl", "holdout": 0.0}, objective="reward", output="runs/reward",
        training={"steps": 4}, evaluation={"tasks": []},
    )  # fmt: skip
    # In bfloat16 a reward would be rounded otherwise in other company.
    trained = desk.etude("train", "toy.yaml", "model={name: ./base, precision: float32}")
    assert trained.code == 0, trained.words
    writer = str(finished.folder / "runs" / "toy")
    flags = ("--model", writer, "--best-of", "6", "--temperature", "1.4", "--max-tokens", "30", "--seed", "1")
    done = synthesize(desk, *flags, "--reward", "runs/reward", source="prompts.jsonl")
    assert done.code == 0, done.words
    rows = made(desk)
    assert rows
    scored = reward_of(str(desk.folder / "runs/reward"))
    for row in rows:
        said, prompt = row["synthesis"], (Message("user", row["prompt"][0]["content"]),)
        assert (said["model"], said["judge"]) == (writer, "runs/reward")
        ends = [(prompt, row[side][0]["content"]) for side in ("chosen", "rejected")]
        assert scored(ends) == pytest.approx([max(said["scores"]), min(said["scores"])], abs=1e-4)
        assert max(said["scores"]) > min(said["scores"])
    assert len(rows) + len(reasons(desk)) == 12
    shown = desk.etude("data", "show", "new.jsonl", "--model", "./base", "--rows", "1")
    assert "(rejected)" in shown.words
    again = synthesize(desk, *flags, "--reward", "runs/nothing", source="prompts.jsonl", out="x.jsonl")
    assert again.code == 2
    assert "runs/nothing" in again.error
    wrong = synthesize(desk, *flags, "--reward", "./base", source="prompts.jsonl", out="x.jsonl")
    assert wrong.code == 2
    assert "is no reward model" in wrong.error


def test_a_model_that_judges_itself_is_held_once(desk: Desk) -> None:
    cache = desk.folder / "answers"
    writer = open_writer(str(desk.folder / "base"), cache, Drawing(seed=3))
    judge = open_judge(str(desk.folder / "base"), cache, writer=writer)
    assert isinstance(writer, LocalWriter)
    assert isinstance(judge, LocalWriter)
    assert judge.subject is writer.subject
    assert (writer.varies, judge.varies) == (True, False)
    other = open_judge(str(desk.folder / "base" / "."), cache, writer=replace(writer, name="another"))
    assert isinstance(other, LocalWriter)
    assert other.subject is not writer.subject
