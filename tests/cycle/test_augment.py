"""`etude data augment --measure`: two runs of one run file and their paired verdict."""

from __future__ import annotations

import json

from tests.cycle.conftest import Desk, as_jsonl, lines_of
from tests.endpoints.chat_server import Told, chat_server


def test_the_effect_of_made_rows_is_measured_by_one_command(desk: Desk) -> None:
    done = desk.etude(
        "data", "augment", "train.jsonl", "-o", "more.jsonl", "--methods", "paraphrase", "--measure", "toy.yaml"
    )  # fmt: skip
    assert done.code == 0, done.words
    assert "with the made rows" in done.words
    assert done.words.rstrip().rpartition("without (")[2].count("toy") >= 1
    made = [json.loads(line) for line in (desk.folder / "more.jsonl").read_text("utf-8").splitlines()]
    assert sum("augmented_from" in row for row in made) >= 12
    data = json.loads((desk.folder / "runs" / "toy-with" / "data.json").read_text("utf-8"))
    assert str(desk.folder / "more.jsonl") in json.dumps(data)
    again = desk.etude("data", "augment", "base", "-o", "x.jsonl", "--measure", "toy.yaml")
    assert again.code == 2
    assert "not what is augmented" in again.error


def test_an_endpoint_says_it_in_other_words_and_translates_there_and_back(desk: Desk) -> None:
    words = ("parcel", "card", "refund", "invoice")
    questions = ("where is", "when comes")
    rows = [
        {"prompt": f"Answer the customer: {questions[at % 2]} my {word}?", "completion": word}
        for at, word in enumerate(words)
    ]
    desk.write("asked.jsonl", as_jsonl(rows))

    def says(messages: list[dict[str, str]]) -> str:
        asked, _, text = messages[-1]["content"].partition("\n\n")
        assert "customer" not in text, "the instruction before all requests stays as it is"
        if "German" in asked:
            return f"auf Deutsch: {text}"
        return text.replace("auf Deutsch:", "again,") if "English" in asked else f"please, {text}"

    arguments = ("data", "augment", "asked.jsonl", "-o", "more.jsonl", "--methods", "model", "back-translation",
                 "--copies", "2", "--through", "German", "--model", "teacher.yaml")  # fmt: skip
    with chat_server(Told(status=400, body=b'{"error": {"message": "no"}}'), says=says) as server:
        desk.write("teacher.yaml", f"url: {server.url}\nmodel: big\nconcurrency: 1\n")
        done = desk.etude(*arguments)
        assert done.code == 0, done.words
        made = [row for row in lines_of(desk.folder / "more.jsonl") if "augmented_from" in row]
        asked = len(server.bodies)
        again = desk.etude(*arguments, "--force")
        assert again.code == 0, again.words
    assert len(server.bodies) == asked + 1, "only what was refused is asked for again"
    assert len(made) == 2 * len(words) - 1
    prompts = {row["prompt"] for row in made}
    assert "Answer the customer: again, when comes my card?" in prompts
    assert "Answer the customer: please, when comes my card?" in prompts
    assert all(row["prompt"].rstrip("?").endswith(row["completion"]) for row in made)
    wrong = desk.etude(*arguments, "--language", "german", "--force")
    assert "--through: is the rows' own language" in wrong.error


def test_a_model_here_writes_too(desk: Desk) -> None:
    done = desk.etude("data", "augment", "train.jsonl", "-o", "more.jsonl", "--methods", "model", "--model", "./base")
    assert done.code == 0, done.words
    assert "by model" in done.words
    assert list((desk.folder / "more.jsonl.answers").iterdir())


def test_a_judge_drops_wordings_and_a_spent_budget_is_taken_up_again(desk: Desk) -> None:
    rows = [{"prompt": f"{word} number {at}: where is it?", "completion": f"{word} {at} is here"}
            for at, word in enumerate(("parcel", "card", "refund", "invoice", "order"))]  # fmt: skip
    desk.write("asked.jsonl", as_jsonl(rows))
    desk.write("own.txt", "Same? {prompt} | {wording} | {completion}")

    def says(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        if asked.startswith("Same?"):
            request, wording, answer = asked.removeprefix("Same? ").split(" | ")
            assert wording == f"Well: {request}"
            assert answer.endswith("is here")
            return "I cannot say" if "card" in asked else "2/5" if "refund" in asked else "5"
        return f"Well: {asked.splitlines()[-1]}"

    arguments = ("data", "augment", "asked.jsonl", "-o", "more.jsonl", "--methods", "model", "--model", "writer.yaml")
    judging = ("--judge", "judge.yaml", "--judge-template", "own.txt", "--least-score", "3")
    with chat_server(says=says) as server:
        desk.write("judge.yaml", f"url: {server.url}\nmodel: judge\n")
        desk.write("writer.yaml", f"url: {server.url}\nmodel: big\nconcurrency: 1\nmost_requests: 2\n")
        first = desk.etude(*arguments, *judging)
        assert first.code == 0, first.words
        assert "the same command with a larger budget goes on" in first.words
        assert len(lines_of(desk.folder / "more.jsonl")) == 5 + 1
        desk.write("writer.yaml", f"url: {server.url}\nmodel: big\nconcurrency: 1\n")
        done = desk.etude(*arguments, *judging)
        assert done.code == 0, done.words
    made = [row for row in lines_of(desk.folder / "more.jsonl") if "augmented_from" in row]
    assert [row["completion"].split()[0] for row in made] == ["parcel", "invoice", "order"]
    assert {row["augmentation"]["score"] for row in made} == {5}
    dropped = lines_of(desk.folder / "more.jsonl.dropped.jsonl")
    assert [(row["reason"], row["row"]["completion"].split()[0]) for row in dropped] == [
        ("no judgement", "card"), ("judged too low", "refund"),
    ]  # fmt: skip
    wrong = desk.etude(*arguments, "--judge-template", "own.txt", "--force")
    assert "judge_template: needs a judge" in wrong.error
    wrong = desk.etude("data", "augment", "asked.jsonl", "-o", "x.jsonl", "--judge", "judge.yaml")
    assert "--judge: no method that was asked for needs a model" in wrong.error
