"""Made rows: right answers, their parent's name, never held out."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.data.augment import Augment
from etude.data.augmentation.noise import noised
from etude.data.augmentation.paraphrase import paraphrased
from etude.data.inputs import open_inputs
from etude.data.read import read
from etude.data.split import split
from etude.data.work import manifest_of, work
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
    work(open_inputs([slots]), Augment(methods=("model", "back-translation"), copies=2), out, generate=upper)
    children = [row for row in map(json.loads, out.read_text("utf-8").splitlines()) if "augmented_from" in row]
    assert {row["augmentation"]["method"] for row in children} == {"model", "back-translation"}
    assert all(row["prompt"].endswith("(again)") for row in children)
    with pytest.raises(DataError, match="needs a model"):
        work(open_inputs([slots]), Augment(methods=("model",)), tmp_path / "none.jsonl")


def test_a_model_that_loses_a_value_makes_no_row(slots, tmp_path):
    out = tmp_path / "out.jsonl"
    work(open_inputs([slots]), Augment(methods=("model",)), out, generate=lambda prompts: ["something"] * len(prompts))
    assert not any("augmented_from" in line for line in out.read_text("utf-8").splitlines())


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
