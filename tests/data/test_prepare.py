"""From records to samples: nothing cut silently, everything counted, nothing without an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.data.length import windows
from etude.data.prepare import prepare
from etude.data.read import Records, read
from etude.data.render import Renderer
from etude.data.split import split
from etude.errors import DataError, Problems
from etude.records import Conversation, Message, Origin, Preference, Record, Text
from tests.data.tokenizers_zoo import families

FAMILIES = families()
RENDERER = Renderer(FAMILIES["chatml"])
WITH_BOS = Renderer(FAMILIES["llama3"])


def chat(*contents: str, line: int = 1, weight: float | None = None) -> Conversation:
    messages = tuple(
        Message(("user", "assistant")[at % 2], text, weight=weight if at % 2 else None)
        for at, text in enumerate(contents)
    )
    return Conversation(messages, Origin("rows.jsonl", line))


def held(*rows: Record) -> Records:
    return Records(rows, "JSONL, messages", "messages", sha256="ab", sources=("rows.jsonl",))


LONG = "the quick brown fox jumps over the lazy dog " * 12


def test_samples_and_summary() -> None:
    rows = [chat(f"question {at}", f"answer {at}", line=at) for at in range(1, 21)]
    prepared = prepare(held(*rows[:15], rows[0]), RENDERER, heldout=held(*rows[15:], rows[3]), max_tokens=64)
    assert [sample.id for sample in prepared.samples[:2]] == ["rows.jsonl:1", "rows.jsonl:2"]
    assert prepared.samples[-1].id == "rows.jsonl:1#2"
    summary = prepared.summary
    assert (summary.rows, summary.train_rows, summary.heldout_rows) == (22, 16, 6)
    assert summary.duplicates == {"within_train": 1, "across_split": 1, "near_across_split": 0}
    assert summary.tokens.total == sum(sample.num_tokens for sample in prepared.samples)
    assert summary.tokens.learned == sum(w > 0 for s in prepared.samples for r in s.rows for w in r.weights)
    assert summary.template_sha256 == RENDERER.template_sha256
    assert any("flatters the held-out loss" in note for note in summary.notes)
    assert len(summary.examples) == 3
    assert ("answer 1<|im_end|>", "learned") in [tuple(piece) for piece in summary.examples[0]]
    assert "".join(text for text, _ in summary.examples[0]).count("question 1") == 1
    assert json.loads(json.dumps(summary.as_dict()))["tokens"]["longest"] == summary.tokens.longest


def test_rows_that_are_too_long_stop_the_run_by_name() -> None:
    rows = [chat("hi", "yes"), *(chat(LONG, "yes", line=at) for at in range(2, 20))]
    with pytest.raises(Problems) as caught:
        prepare(held(*rows), RENDERER, max_tokens=64)
    text = str(caught.value)
    assert "18 rows are longer than max_tokens (64)" in text
    longest = len(RENDERER.row(rows[1]).tokens)
    assert f"rows.jsonl:2: {longest} tokens" in text
    assert "and 8 more" in text
    assert f"raise max_tokens to {longest}" in text
    assert len(prepare(held(*rows), RENDERER, max_tokens=longest).samples) == 19


def test_drop_counts() -> None:
    prepared = prepare(held(chat("hi", "yes"), chat(LONG, "yes", line=2)), RENDERER, max_tokens=64, over_length="drop")
    assert [sample.id for sample in prepared.samples] == ["rows.jsonl:1"]
    assert prepared.summary.over_length == {"policy": "drop", "dropped": 1, "truncated": 0}
    assert "1 rows were dropped because they are longer than max_tokens" in prepared.summary.notes


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_truncating_cuts_prompts_and_never_answers_or_the_template(name: str) -> None:
    renderer = Renderer(FAMILIES[name])
    rows = held(chat(f"refund {LONG} urgency?", "yes.", "more", "an answer", line=1), chat("hi", LONG, line=2))
    prepared = prepare(rows, renderer, max_tokens=80, over_length="truncate-prompt")
    assert prepared.summary.over_length == {"policy": "truncate-prompt", "dropped": 1, "truncated": 1}
    (sample,) = prepared.samples
    (row,) = sample.rows
    assert 60 <= len(row.tokens) <= 80
    whole = renderer.row(rows.rows[0])
    text = renderer.plain.decode(row.tokens)
    assert "urgency?" in text
    assert "refund" not in text
    short = renderer.row(chat("hi", "yes.", "more", "an answer"))
    learned = [t for t, w in zip(row.tokens, row.weights, strict=True) if w]
    assert learned == [t for t, w in zip(whole.tokens, whole.weights, strict=True) if w]
    controls = [t for t in row.tokens if t in renderer.plain.forbidden_ids]
    assert controls == [t for t in short.tokens if t in renderer.plain.forbidden_ids]


def test_truncating_a_pair_keeps_one_prompt() -> None:
    pair = Preference(
        (Message("user", LONG),), (Message("assistant", "good"),), (Message("assistant", "very bad"),), Origin("p", 1)
    )
    prepared = prepare(held(pair), RENDERER, max_tokens=48, over_length="truncate-prompt")
    chosen, rejected = prepared.samples[0].rows
    start = next(at for at, weight in enumerate(chosen.weights) if weight)
    assert list(chosen.tokens[:start]) == list(rejected.tokens[:start])
    assert max(len(chosen.tokens), len(rejected.tokens)) <= 48


@given(st.integers(1, 400), st.integers(4, 60), st.booleans())
@settings(max_examples=80, deadline=None)
def test_windows_learn_every_token_of_a_text_once(size: int, max_tokens: int, bos: bool) -> None:
    renderer = WITH_BOS if bos else RENDERER
    plans = renderer.plans(Text(" ".join(str(at) for at in range(size)), Origin("t", 1)))
    row = renderer.encode(plans)[0]
    whole = renderer.encoded(plans)[0]
    parts = list(map(renderer.rendered, windows(whole, max_tokens, renderer.num_opening)))
    assert all(len(part.tokens) <= max_tokens and part.weights[0] == 0 for part in parts)
    learned = [t for part in parts for t, w in zip(part.tokens, part.weights, strict=True) if w]
    assert learned == [t for t, w in zip(row.tokens, row.weights, strict=True) if w]
    assert all(part.tokens[: renderer.num_opening] == row.tokens[: renderer.num_opening] for part in parts)


def test_long_texts_become_windows_and_are_not_called_truncated() -> None:
    prepared = prepare(held(Text(LONG, Origin("t", 1)), Text("hi", Origin("t", 2))), RENDERER, max_tokens=32)
    assert prepared.summary.windows["texts"] == 1
    assert prepared.summary.windows["windows"] == len(prepared.samples) - 1
    assert prepared.samples[1].id == "t:1#2"
    assert prepared.summary.over_length["dropped"] == 0
    assert prepared.summary.template_sha256 == ""


def test_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(Problems, match=r"(?s)not one of the 2 rows can be used.*0 tokens to learn"):
        prepare(held(chat("a", "b", weight=0.0), chat("c", "d", weight=0.0)), RENDERER, max_tokens=64)
    with pytest.raises(DataError, match=r"0 trainable tokens.*longer than max_tokens"):
        prepare(held(chat("hi", LONG)), RENDERER, max_tokens=32, over_length="drop")
    with pytest.raises(DataError, match="0 trainable tokens"):
        prepare(held(), RENDERER, max_tokens=32)


def test_rows_that_the_template_refuses_are_bad_rows(tmp_path: Path) -> None:
    renderer = Renderer(FAMILIES["gemma"])
    rows = [chat("hi", "yes", line=at) for at in range(1, 51)]
    system = Conversation((Message("system", "Be brief."), *rows[0].messages), Origin("rows.jsonl", 51))
    quarantined = tmp_path / "quarantine.jsonl"
    prepared = prepare(held(*rows, system), renderer, max_tokens=64, max_bad_share=0.02, quarantine=quarantined)
    assert prepared.summary.bad_rows == 1
    assert "System role not supported" in json.loads(quarantined.read_text())["reason"]
    with pytest.raises(Problems, match="System role not supported"):
        prepare(held(*rows, system), renderer, max_tokens=64)


def test_control_spelt_in_a_row_is_counted_and_harmless() -> None:
    prepared = prepare(held(chat("hi<|im_end|>", "yes"), chat("hi", "yes", line=2)), RENDERER, max_tokens=64)
    assert prepared.summary.odd["control_text"] == 1
    end = FAMILIES["chatml"].convert_tokens_to_ids("<|im_end|>")
    assert [list(row.tokens).count(end) for sample in prepared.samples for row in sample.rows] == [2, 2]


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    prepare(held(chat("a", "b")), RENDERER, heldout=held(chat("c", "d")), max_tokens=64,
            on_progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen[-1] == (2, 2)


@pytest.mark.realdata
def test_real_rows_are_prepared(realdata: Path) -> None:
    records = read(realdata / "banking77/train.csv", columns={"prompt": "Classify: {text}", "completion": "category"})
    train, kept = split(records, 0.1, seed=0)
    prepared = prepare(train, RENDERER, heldout=kept, max_tokens=512)
    assert (len(prepared.samples), len(prepared.heldout)) == (len(train), len(kept))
    assert prepared.summary.duplicates["across_split"] == 0
    assert all(any(row.weights) for sample in prepared.samples for row in sample.rows)
    pairs = prepare(
        read(realdata / "hh_rlhf_harmless/pairs.jsonl")[:300], RENDERER, max_tokens=400, over_length="truncate-prompt"
    )
    assert all(len(sample.rows) == 2 and sample.num_tokens <= 800 for sample in pairs.samples)
