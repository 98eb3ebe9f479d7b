"""Rows as people have them: each way of judging, its mistakes, and the exports of two labelling tools."""

from __future__ import annotations

from typing import Any

import pytest

from etude.data.check import RowError
from etude.feedback.exports import unfolded
from etude.feedback.judgements import UNNAMED, Judgement, choices
from etude.feedback.layouts import Skipped, judgement, mapping_problems
from etude.records import Origin

ORIGIN = Origin("rows.jsonl", 1)
TWO: dict[str, Any] = {"prompt": "why?", "answer_a": "because", "answer_b": "so"}


def read(**columns: Any) -> Judgement:
    return judgement(columns, ORIGIN)


def texts(found: Judgement) -> list[str]:
    return [answer[-1].text for answer in found.answers]


@pytest.mark.parametrize(
    ("said", "grades"),
    [("a", (1, 0)), (1, (1, 0)), ("left", (1, 0)), ("answer_a", (1, 0)), ("B", (0, 1)), ("2", (0, 1)), (2.0, (0, 1)),
     ("right", (0, 1)), ("model_b", (0, 1)), ("tie", (0, 0)), ("=", (0, 0)), (0, (0, 0))],
)  # fmt: skip
def test_pairs(said: object, grades: tuple[float, float]) -> None:
    found = read(**TWO, preference=said, annotator="ann", seconds="3.5")
    assert (found.kind, found.grades, found.annotator, found.seconds) == ("choice", grades, "ann", 3.5)
    assert texts(found) == ["because", "so"]
    assert found.order_known


def test_chosen_and_rejected_with_whole_chats() -> None:
    chat = "\n\nHuman: hi\n\nAssistant: {}"
    found = read(chosen=chat.format("hello"), rejected=chat.format("no"), margin=2)
    assert [message.text for message in found.prompt] == ["hi"]
    assert (texts(found), found.margin, found.annotator, found.order_known) == (["hello", "no"], 2, UNNAMED, False)


def test_rankings_and_ratings_of_several() -> None:
    ranked = read(prompt="q", answers=["x", "y", "z"], ranks=[2, 1, 2])
    assert ranked.grades == (-2, -1, -2)
    votes = {frozenset((one.first[0].text, one.second[0].text)): one for one in choices([ranked])}
    tie, won = votes[frozenset("xz")], votes[frozenset("xy")]
    assert tie.vote == 0
    assert (won.first if won.vote > 0 else won.second)[0].text == "y"
    rated = read(prompt="q", answers='["x", "y"]', ratings="[1, 4]")
    (choice,) = choices([rated], rating_range=4)
    assert choice.margin == 0.75


def test_single_ratings_are_compared_within_one_person_and_prompt() -> None:
    rows = [
        {"prompt": "q", "answer": text, "rating": rating, "annotator": name}
        for name, graded in (("ann", [("x", 1), ("y", 5)]), ("bo", [("x", 3), ("z", 3)]))
        for text, rating in graded
    ]
    found = choices(judgement(row, ORIGIN) for row in rows)
    assert [(one.annotator, abs(one.vote), one.margin) for one in found] == [("ann", 1, 4), ("bo", 0, 0)]


@pytest.mark.parametrize(
    ("said", "grade"), [(True, 1), ("up", 1), ("👍", 1), (1, 1), ("false", -1), ("👎", -1), (0, -1)]
)
def test_thumbs(said: object, grade: int) -> None:
    found = read(prompt="q", response="x", thumb=said)
    assert (found.kind, found.grades) == ("thumb", (grade,))


def test_edits_are_better_than_what_they_mend() -> None:
    found = read(prompt="q", original="teh", edited="the", annotator={"id": 7, "email": "a@b.c"})
    assert (found.kind, texts(found), found.grades, found.annotator) == ("edit", ["the", "teh"], (1, 0), "a@b.c")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({**TWO, "preference": "perhaps"}, "preference is 'perhaps'; understood are 1, 2 and ="),
        ({**TWO, "answer_b": "because", "preference": 1}, "both answers are the same"),
        ({"prompt": "q", "original": "x", "edited": "x"}, "the edit changed nothing"),
        ({"prompt": "q", "answers": ["x", "y"], "ranks": [1]}, "2 answers, but 1 ranks"),
        ({"prompt": "q", "answer": "x", "rating": "good"}, "rating holds 'good', not a number"),
        ({"prompt": "q", "answer": "x", "rating": True}, "rating is True, not a number"),
        ({"prompt": "q", "answer": "x", "thumb": "maybe"}, "thumb is 'maybe'; understood are true and false"),
        ({"answer": "x", "rating": 3}, "prompt is missing"),
        ({"text": "x"}, "no judgement among the columns text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(RowError, match=says.replace("?", r"\?")):
        judgement(columns, ORIGIN)


def test_passed_over() -> None:
    with pytest.raises(Skipped):
        read(**TWO, preference="skip")


def test_columns_of_other_names() -> None:
    row = {"frage": "q", "eins": "x", "zwei": "y", "wahl": "eins", "wer": "ann"}
    named = {"prompt": "frage", "first": "eins", "second": "zwei", "preference": "wahl", "annotator": "wer"}
    found = judgement(row, ORIGIN, named)
    assert (texts(found), found.grades, found.annotator) == (["x", "y"], (1, 0), "ann")
    assert mapping_problems(["who"]) == ["'who' is not FIELD=COLUMN"]
    assert mapping_problems(["who=x"])[0].startswith("unknown field 'who'; the fields are prompt,")


def everything(columns: dict[str, Any]) -> list[Judgement]:
    found = []
    for row in unfolded(columns):
        assert not isinstance(row, RowError)
        found.append(judgement(row, ORIGIN))
    return found


def test_label_studio_pairs() -> None:
    """The task format of https://labelstud.io/guide/task_format with the template for human preferences."""

    def annotation(who: Any, selected: str) -> dict[str, Any]:
        result = {
            "from_name": "comparison",
            "to_name": "answer1,answer2",
            "type": "pairwise",
            "value": {"selected": selected},
        }
        return {"id": 1, "completed_by": who, "result": [result], "was_cancelled": False, "lead_time": 4.5}

    task = {
        "id": 1, "data": {"prompt": "q", "answer1": "x", "answer2": "y"}, "predictions": [],
        "annotations": [annotation(3, "left"), annotation({"id": 4, "email": "d@e.f"}, "right")],
    }  # fmt: skip
    found = everything(task)
    assert [(one.annotator, one.grades, one.seconds) for one in found] == [("3", (1, 0), 4.5), ("d@e.f", (0, 1), 4.5)]
    cancelled = {**task, "annotations": [{**annotation(3, "left"), "was_cancelled": True}]}
    (row,) = unfolded(cancelled)
    assert not isinstance(row, RowError)
    with pytest.raises(Skipped):
        judgement(row, ORIGIN)
    flat = {"prompt": "q", "answer1": "x", "answer2": "y", "comparison": "right", "annotator": 3, "lead_time": 2.0}
    assert everything(flat)[0].grades == (0, 1)


def test_label_studio_ratings_edits_and_rankings() -> None:
    def task(data: dict[str, Any], **result: Any) -> dict[str, Any]:
        return {"data": data, "annotations": [{"completed_by": 1, "result": [{"from_name": "it", **result}]}]}

    rated = task({"prompt": "q", "reply": "x"}, type="rating", to_name="reply", value={"rating": 4})
    assert [(one.kind, texts(one), one.grades) for one in everything(rated)] == [("rating", ["x"], (4,))]
    edited = task({"prompt": "q", "answer": "teh"}, type="textarea", to_name="answer", value={"text": ["the"]})
    assert texts(everything(edited)[0]) == ["the", "teh"]
    items = [{"id": "a", "body": "x"}, {"id": "b", "body": "y"}]
    ranked = task(
        {"prompt": "q", "items": items}, type="ranker", to_name="items", value={"ranker": {"rank": ["b", "a"]}}
    )
    (found,) = everything(ranked)
    assert (texts(found), found.grades) == (["y", "x"], (-1, -2))
    (broken,) = unfolded({"data": {"prompt": "q"}, "annotations": [{"completed_by": 1}]})
    assert isinstance(broken, RowError)


FIELDS = {"prompt": "q", "response1": "x", "response2": "y"}


def test_argilla_rankings_nested_and_flat() -> None:
    nested = {
        "id": "1", "fields": FIELDS, "suggestions": {},
        "responses": {
            "preference": [
                {"value": ["response2", "response1"], "user_id": "u1"},
                {"value": [{"value": "response1", "rank": 1}, {"value": "response2", "rank": 1}], "user_id": "u2"},
                {"value": ["response2", "response1"], "user_id": "u3", "status": "discarded"},
            ]
        },
    }  # fmt: skip
    flat = {
        **FIELDS, "preference.responses": [["response2", "response1"], ["response1", "response2"]],
        "preference.responses.users": ["u1", "u2"], "preference.responses.status": ["submitted", "draft"],
    }  # fmt: skip
    assert [(one.annotator, texts(one), one.grades) for one in everything(nested)] == [
        ("u1", ["y", "x"], (-1, -2)), ("u2", ["x", "y"], (-1, -1)),
    ]  # fmt: skip
    assert [(one.annotator, texts(one)) for one in everything(flat)] == [("u1", ["y", "x"])]


def test_argilla_labels_and_ratings() -> None:
    choice = {"fields": FIELDS, "responses": {"better": [{"value": "response2", "user_id": "u"}]}}
    assert everything(choice)[0].grades == (0, 1)
    rated = {"fields": {"prompt": "q", "response": "x"}, "responses": {"rating": [{"value": 5, "user_id": "u"}]}}
    assert everything(rated)[0].grades == (5,)
    older = {"prompt": "q", "response": "x", "rating": [{"user_id": "u", "value": 2, "status": "submitted"}]}
    assert [(one.annotator, one.grades) for one in everything(older)] == [("u", (2,))]
