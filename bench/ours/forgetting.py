"""What a model still knows beside its task: multiple-choice questions and plain text that training never showed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from etude.batch import TokenRow
from etude.models.loaded import LoadedModel, Subject
from etude.models.scoring import score_rows

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUESTIONS_EACH = 40
"""Of each of the four sets in capability_mc."""
TEXT_ROWS, TEXT_TOKENS = 16, 512


def probes(subject: Subject) -> dict[str, float]:
    """`choices`: the share of questions whose right choice is the likeliest by the character; `text`: nats a token."""
    with subject.use() as model:
        return {"choices": _choices(model), "text": _text(model)}


def _choices(model: LoadedModel) -> float:
    asked: dict[str, list[dict[str, object]]] = {}
    for line in (DATA / "capability_mc" / "mc.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        asked.setdefault(item["task"], []).append(item)
    right = 0
    chosen = [item for items in asked.values() for item in items[:QUESTIONS_EACH]]
    for item in chosen:
        stem = model.tokenizer(f"Question: {item['question']}\nAnswer:")["input_ids"]
        choices = [str(choice) for choice in item["choices"]]  # type: ignore[attr-defined]
        rows = [_continued(stem, model.tokenizer(f" {choice}")["input_ids"]) for choice in choices]
        likelihoods = [
            float(found[len(stem) - 1 :].sum()) / len(choice)
            for found, choice in zip(score_rows(model, rows), choices, strict=True)
        ]
        right += likelihoods.index(max(likelihoods)) == item["answer"]
    return right / len(chosen)


def _continued(stem: list[int], more: list[int]) -> TokenRow:
    return TokenRow((*stem, *more), (*[0.0] * len(stem), *[1.0] * len(more)))


def _text(model: LoadedModel) -> float:
    text = (DATA / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    tokens = model.tokenizer(text[: TEXT_ROWS * TEXT_TOKENS * 8])["input_ids"][: TEXT_ROWS * TEXT_TOKENS]
    rows = [
        TokenRow(tuple(tokens[at : at + TEXT_TOKENS]), (0.0, *[1.0] * (TEXT_TOKENS - 1)))
        for at in range(0, len(tokens), TEXT_TOKENS)
    ]
    found = [float(one) for row in score_rows(model, rows) for one in row]
    return -math.fsum(found) / len(found)
