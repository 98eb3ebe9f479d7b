"""What is known of an arm goes by the content that its answers depend on, and by nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etude.advice.options import AdviseOptions
from etude.cycle.advise_rows import AdviceRows
from etude.cycle.answerers import Answerers
from etude.cycle.arms import Answerer, Measuring, Plan
from etude.cycle.show import Quiet
from etude.cycle.subjects import subject_hash
from etude.cycle.wording import Wording
from etude.evaluation.tasks import load_task
from etude.json_values import json_sha256
from etude.records import Conversation, Message, Origin
from tests.cycle.conftest import as_jsonl, rows
from tests.toy import toy_module, toy_tokenizer

TASK = "name: all\ndata: eval.jsonl\nmetric: label\nmax_new_tokens: 6\nsystem: Be short.\n"
WHO = Answerer(name="base", identity="1", open=lambda: pytest.fail("is not asked"), cost=lambda report: None)


def examples(*answers: str) -> tuple[Conversation, ...]:
    said = [(Message("user", f"q{n}"), Message("assistant", answer)) for n, answer in enumerate(answers)]
    return tuple(Conversation(messages, Origin("rows.jsonl", n)) for n, messages in enumerate(said))


def nothing(questions: object, number: int) -> list[list[int]]:
    return pytest.fail("nothing is searched to know an arm again")


WORDING = Wording(("a", "b"), nothing, examples=examples("a", "b"), number=2, found_by="words")


def key(
    folder: Path, *, task: str = TASK, items: int = 8, wording: Wording = WORDING, who: Answerer = WHO,
    options: AdviseOptions | None = None, title: str = "base, 2 examples",
) -> str:  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "eval.jsonl").write_text(as_jsonl(rows(items)), encoding="utf-8")
    (folder / "all.task.yaml").write_text(task, encoding="utf-8")
    loaded = load_task(folder / "all.task.yaml")
    measuring = Measuring(folder / "arms", loaded, options or AdviseOptions(), Quiet())
    return measuring.key(Plan(name="few", title=title, way="prompt", who=who, wording=wording), loaded)


def test_the_same_content_has_the_same_key_wherever_and_whatever_it_costs(tmp_path: Path) -> None:
    here = key(tmp_path / "here")
    there = key(tmp_path / "there", options=AdviseOptions(price_per_hour=3.0, seed=9), title="else")
    assert here == there
    # Settings in another order; and a hash that another process made.
    assert key(tmp_path / "here", task="".join(sorted(TASK.splitlines(keepends=True)))) == here
    expected = "a562f46a71a8e380b58bdf492a66cf276a60a0e877d22c0181f8d8307a7823e3"
    assert json_sha256({"b": [1, 2.5, None], "a": {"d": "é", "c": True}}) == expected
    with pytest.raises(TypeError):
        json_sha256({"address": object()})


CHANGES: dict[str, Callable[[Path], str]] = {
    "prompt": lambda at: key(at, task=TASK.replace("short", "long")),
    "metric": lambda at: key(at, task=TASK.replace("label", "exact_match")),
    "metric's setting": lambda at: key(at, task=f"{TASK}labels: [refund, card, capital, dog, cat]\n"),
    "limit": lambda at: key(at, task=f"{TASK}limit: 4\n"),
    "answer's length": lambda at: key(at, task=TASK.replace("6", "7")),
    "items": lambda at: key(at, items=9),
    "who": lambda at: key(at, who=replace(WHO, identity="2")),
    "number": lambda at: key(at, wording=replace(WORDING, number=1)),
    "examples": lambda at: key(at, wording=replace(WORDING, examples=examples("a", "c"))),
    "passages": lambda at: key(at, wording=replace(WORDING, examples=(), passages=("a", "b"))),
    "labels": lambda at: key(at, wording=replace(WORDING, labels=("b", "a"))),
    "search": lambda at: key(at, wording=replace(WORDING, found_by="meaning 12")),
}


def test_whatever_answers_depend_on_is_in_the_key(tmp_path: Path) -> None:
    found = {name: change(tmp_path / "here") for name, change in CHANGES.items()}
    assert len({key(tmp_path / "here"), *found.values()}) == 1 + len(CHANGES), found


def test_models_and_trainings_are_known_by_content(tmp_path: Path) -> None:
    base, moved = tmp_path / "base", tmp_path / "moved"
    toy_module().save_pretrained(base)
    toy_tokenizer().save_pretrained(base)
    shutil.copytree(base, moved)
    assert subject_hash(str(base)) == subject_hash(str(moved))

    def trained(*overrides: str, model: Path = base, number: int = 12) -> str:
        learn = examples(*"abcdefghijklm"[:number])
        measuring = Measuring(tmp_path, load_task(tmp_path / "here" / "all.task.yaml"), AdviseOptions(), Quiet())
        given = Answerers(measuring, AdviceRows(learn, None, ()), tmp_path, overrides)
        return given.tuned(str(model), 12).identity

    key(tmp_path / "here")
    settings = ("training.epochs=2", "technique.rank=8")
    known = trained(*settings)
    assert trained(*reversed(settings)) == trained(*settings, "logging.every=3", model=moved) == known
    assert trained(*settings, number=13) == known, "the twelve rows are the same"
    assert len({known, trained(), trained(*settings, number=11)}) == 3
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template) + "\n"
    tokenizer.save_pretrained(moved)
    assert subject_hash(str(base)) != subject_hash(str(moved))
    assert trained(*settings, model=moved) != known
