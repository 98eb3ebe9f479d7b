"""Made rows: right answers, their parent's name, never held out."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.audit.vectors import learned
from etude.data.augment import Augment
from etude.data.augmentation.noise import noised
from etude.data.augmentation.paraphrase import paraphrased
from etude.data.augmentation.same_label import Learning
from etude.data.inputs import Row, open_inputs
from etude.data.read import read
from etude.data.split import split
from etude.data.synthesis.asking import Asked, FunctionWriter
from etude.data.work import dropped_of, manifest_of, work
from etude.errors import DataError

TOWNS = ("Berlin", "Lisbon", "Oslo", "Prague", "Rome")
ARTISTS = ("Mina", "The Knife", "Björk", "Can")


def slot_row(number, town):
    said = f"Book a table for {number} in {town} tonight please"
    answer = json.dumps({"intent": "book", "slots": {"city": town, "people": str(number)}}, ensure_ascii=False)
    return {"prompt": f"Fill the slots.\n{said}", "completion": answer}


@pytest.fixture
def slots(tmp_path):
    path = tmp_path / "slots.jsonl"
    rows = [slot_row(number, TOWNS[number % 5]) for number in range(11, 41)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def made_from(path, out, **settings):
    work(open_inputs([path]), Augment(**settings), out)
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_swaps_change_request_and_answer_together(slots, tmp_path):
    rows = made_from(slots, tmp_path / "out.jsonl", methods=("swap",), copies=2)
    children = [row for row in rows if "augmented_from" in row]
    assert len(children) >= 35
    parents = {
        f"{slots}:{line}": row for line, row in enumerate(map(json.loads, slots.read_text("utf-8").splitlines()), 1)
    }
    for child in children:
        parent = parents[child["augmented_from"]]
        answer = json.loads(child["completion"])["slots"]
        assert (
            child["prompt"]
            == f"Fill the slots.\nBook a table for {answer['people']} in {answer['city']} tonight please"
        )
        assert child["prompt"] != parent["prompt"]
        assert child["augmentation"] == {"method": "swap", "seed": 0}


def test_noise_and_paraphrase_leave_instruction_values_and_answer_alone(slots, tmp_path):
    rows = made_from(slots, tmp_path / "out.jsonl", methods=("noise", "paraphrase"), copies=4, strength=0.6)
    children = [row for row in rows if "augmented_from" in row]
    assert len(children) > 50
    for child in children:
        assert child["prompt"].startswith("Fill the slots.\n")
        for value in json.loads(child["completion"])["slots"].values():
            assert value in child["prompt"]


def test_the_same_seed_makes_the_same_rows(slots, tmp_path):
    one = made_from(slots, tmp_path / "one.jsonl", copies=3)
    assert one == made_from(slots, tmp_path / "two.jsonl", copies=3)
    assert one != made_from(slots, tmp_path / "three.jsonl", copies=3, seed=1)


def test_balancing_fills_up_the_rare_answers(tmp_path):
    path = tmp_path / "labels.jsonl"
    rows = [{"prompt": f"Can you help me with refund number {n} today?", "completion": "refund"} for n in range(12)]
    rows += [{"prompt": f"Can you tell me where parcel {n} went?", "completion": "parcel"} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    made = made_from(
        path, tmp_path / "out.jsonl", balance=True, copies=6, methods=("noise", "paraphrase"), strength=0.5
    )
    counted = Counter(row["completion"] for row in made)
    assert counted["refund"] == 12
    assert 9 <= counted["parcel"] <= 12


def test_made_rows_are_never_held_out_and_those_of_held_out_parents_are_nowhere(slots, tmp_path):
    out = tmp_path / "out.jsonl"
    made_from(slots, out, copies=3, strength=0.5)
    for streams in (False, True):
        before = split(read(slots, streams=streams), 0.3, seed=5)[1]
        train, heldout = split(read(out, streams=streams), 0.3, seed=5)
        assert all(record.augmented_from is None for record in heldout)
        assert {record.messages for record in before} == {record.messages for record in heldout}, (
            "the same rows as without"
        )
        parents = {record.group for record in heldout}
        assert parents
        assert not any(record.group in parents for record in train)
        assert sum(record.augmented_from is not None for record in train) > 20


def test_children_have_no_children_and_ties_are_counted(slots, tmp_path):
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    first = made_from(slots, once, methods=("swap",))
    second = made_from(once, twice, methods=("swap",), seed=3)
    assert {row.get("augmented_from") for row in first} <= {row.get("augmented_from") for row in second}
    children = sum("augmented_from" in row for row in second)
    assert children <= 2 * sum("augmented_from" in row for row in first) + 5
    assert json.loads(manifest_of(once).read_text("utf-8"))["changed"]["made by swap"] >= 15


def test_a_model_writes_through_the_seam(slots, tmp_path):
    def upper(prompts):
        return [f"{prompt.splitlines()[-1]} (again)" for prompt in prompts]

    out = tmp_path / "out.jsonl"
    work(
        open_inputs([slots]),
        Augment(methods=("model", "back-translation"), copies=2),
        out,
        asked=Asked(FunctionWriter(upper)),
    )
    children = [row for row in map(json.loads, out.read_text("utf-8").splitlines()) if "augmented_from" in row]
    assert {row["augmentation"]["method"] for row in children} == {"model", "back-translation"}
    assert all(row["prompt"].endswith("(again)") for row in children)
    with pytest.raises(DataError, match="needs a model"):
        work(open_inputs([slots]), Augment(methods=("model",)), tmp_path / "none.jsonl")


def test_a_model_that_loses_a_value_makes_no_row(slots, tmp_path):
    out = tmp_path / "out.jsonl"
    asked = Asked(FunctionWriter(lambda prompts: ["something"] * len(prompts)))
    work(open_inputs([slots]), Augment(methods=("model",)), out, asked=asked)
    assert not any("augmented_from" in line for line in out.read_text("utf-8").splitlines())


WORDS = {
    "refund": ("money back", "refund", "return the amount", "reimburse my payment"),
    "parcel": ("parcel", "delivery", "courier", "shipment of my order"),
    "card": ("bank card", "card reader", "PIN of my card", "credit card"),
}


def labelled_rows(number):
    """Requests that their words tell apart."""
    dice = Random(7)
    openings = ("Where is the", "Tell me about the", "I have a question on the", "Nobody helps me with the")
    endings = ("please", "since last week", "of my sister", "for the second time", "in the app")
    rows = []
    for at in range(number):
        label = list(WORDS)[at % len(WORDS)]
        said = f"{dice.choice(openings)} {dice.choice(WORDS[label])} {dice.choice(endings)}, number {at}"
        rows.append({"prompt": said, "completion": label})
    return rows


def test_a_wording_with_another_label_is_dropped_and_a_judge_sees_only_the_others(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = labelled_rows(120)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    planted, judged = {}, []

    def says(prompts):
        """Every tenth time something else is asked for."""
        texts = [prompt.splitlines()[-1] for prompt in prompts]
        for at, text in enumerate(texts):
            label = next(row["completion"] for row in rows if row["prompt"] == text)
            if at % 10 == 0:
                other = next(name for name in WORDS if name != label)
                texts[at] = f"What about the {WORDS[other][at % 4]} of box {text.split()[-1]}"
                planted[texts[at]] = label
            else:
                texts[at] = f"Hello, {text.lower()}"
        return texts

    def judges(prompts):
        judged.extend(prompts)
        return ["2" if "nobody" in prompt else "5, it is the same" for prompt in prompts]

    asked = Asked(FunctionWriter(says), FunctionWriter(judges, name="judge"))
    work(open_inputs([path]), Augment(methods=("model",)), out, asked=asked)
    children = [row for row in map(json.loads, out.read_text("utf-8").splitlines()) if "augmented_from" in row]
    dropped = [json.loads(line) for line in dropped_of(out).read_text("utf-8").splitlines()]
    elsewhere = [one for one in dropped if one["reason"] == "another label"]
    assert {one["row"]["prompt"] for one in elsewhere} == planted.keys()
    assert all(one["label"] == planted[one["row"]["prompt"]] != one["found"] for one in elsewhere)
    assert not any(text in prompt for prompt in judged for text in planted)
    assert {one["row"]["prompt"].split()[1] for one in dropped if one["reason"] == "judged too low"} == {"nobody"}
    assert not any("nobody" in child["prompt"] for child in children)
    assert all(
        child["augmentation"] == {"method": "model", "seed": 0, "score": 5, "judge": "judge"} for child in children
    )
    assert len(children) + len(dropped) == len(rows)
    manifest = json.loads(manifest_of(out).read_text("utf-8"))
    assert manifest["dropped"] == Counter(one["reason"] for one in dropped)
    assert manifest["notes"]["augmentation"]["same_label"]["checked"]["answer"]["labels"] == 3
    assert manifest["says"] == []
    without = work(open_inputs([path]), Augment(methods=("model",), same_label=False), tmp_path / "x.jsonl",
                   asked=Asked(FunctionWriter(says)))  # fmt: skip
    assert not without.dropped
    assert "was not checked" in without.says[0]


def test_what_is_asked_as_before_keeps_its_label_whatever_the_classifiers_think_of_it(tmp_path):
    """Half of the labels are wrong: the classifiers contradict them, but not the new wording."""
    path = tmp_path / "rows.jsonl"
    rows = labelled_rows(90)
    for row in rows[::4]:
        row["completion"] = "card"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    given = [row for row in open_inputs([path]).each("") if isinstance(row, Row)]
    learning = Learning(seed=0)
    for row in given:
        learning.take(row)
    words, _ = learned([row["prompt"] for row in rows])
    other = given[1].changed({"prompt": "Where is the refund that I paid for?", "completion": "parcel"})
    for embed in (None, lambda texts: words.vectors(texts).toarray()):
        same = learning.finish(embed)
        assert [one.name for one in same.outcomes] == ["answer"]
        assert same.verdicts([(row.origin, row) for row in given]) == [None] * len(given)
        [(reason, facts)] = same.verdicts([(given[1].origin, other)])
        assert (reason, facts["label"], facts["found"]) == ("another label", "parcel", "refund")


def test_settings_for_models_are_refused_where_none_writes():
    wrong = dict(Augment(embedder="x", least_score=9, same_label=False).problems())
    assert wrong.keys() == {"embedder", "least_score", "same_label"}
    assert not Augment(methods=("model",), embedder="x", least_score=2).problems()


def test_chats(tmp_path):
    path, out = tmp_path / "chats.jsonl", tmp_path / "out.jsonl"
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"How do I reset password {n}?"},
                {"role": "assistant", "content": f"Press {n}."},
            ]
        }
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in chats), "utf-8")
    children = [row for row in made_from(path, out, methods=("paraphrase",)) if "augmented_from" in row]
    assert len(children) > 6
    assert all(child["messages"][1]["content"].startswith("Press ") for child in children)
    assert len(read(out)) == 12 + len(children)


@given(st.text(max_size=200), st.integers(0, 99))
def test_noise_keeps_what_it_is_told_to(text, seed):
    kept = (0, len(text) // 2)
    assert noised(text, Random(seed), strength=1.0, kept=[kept]).startswith(text[: kept[1]])
    assert isinstance(paraphrased(text, Random(seed)), str)
