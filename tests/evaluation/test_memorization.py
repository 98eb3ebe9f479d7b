"""Memorising is found where it is planted, and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from etude.batch import Sample, TokenRow
from etude.data.render import Renderer
from etude.errors import DataError
from etude.evaluation.canaries import canary_lines, exposures, make_canaries, read_canaries
from etude.evaluation.memorization import memorization
from etude.models.loaded import LoadedModel
from tests.toy import toy_loaded

TEXTS = [f"the {word} fox jumps over card {n} and the lazy dog of {word} {n * 7}" for n, word in enumerate("abcdef")]


def row(text: str) -> TokenRow:
    tokens = (1, *toy_loaded().tokenizer.encode(text, add_special_tokens=False), 2)
    return TokenRow(tokens, (0.0, *[1.0] * (len(tokens) - 1)))


def learned(rows: list[TokenRow], updates: int) -> LoadedModel:
    model = toy_loaded(seed=5)
    model.module.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for _ in range(updates):
        loss = torch.zeros(())
        for one in rows:
            tokens = torch.tensor([list(one.tokens)])
            labels = tokens.masked_fill(torch.tensor([one.weights]) == 0, -100)
            loss = loss + model.module(tokens, labels=labels).loss / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.requires_grad_(False)
    return model


def test_what_was_learned_by_heart_is_recited_and_what_was_not_is_not() -> None:
    samples = [Sample(str(n), (row(text),)) for n, text in enumerate(TEXTS)]
    known, unknown = samples[:3], samples[3:]
    model = learned([one.rows[0] for one in known], 120)
    found = memorization(model, known, unknown, rows=8)
    assert (found.verbatim_train.count, found.verbatim_train.of) == (3, 3)
    assert (found.verbatim_heldout.count, found.verbatim_heldout.of) == (0, 3)
    assert "3 of 3 training answers" in found.sentence()
    before = memorization(toy_loaded(), known, unknown)
    assert before.verbatim_train.count == 0
    assert not before.memorizes
    short = memorization(toy_loaded(), [Sample("s", (TokenRow((1, 5, 2), (0.0, 1.0, 1.0)),))], [])
    assert short.verbatim_train.of == 0
    assert "not measured" in short.sentence()


def test_a_planted_secret_is_exposed_once_it_was_learned(tmp_path: Path) -> None:
    canaries = make_canaries(1, seed=3)
    assert [one.repeats for one in canaries] == [1, 4, 16]
    path = tmp_path / "canaries.jsonl"
    path.write_text("\n".join(canary_lines(canaries)) + "\n")
    assert sorted(read_canaries(path), key=lambda one: one.repeats) == canaries
    assert make_canaries(1, seed=4)[0].secret != canaries[0].secret
    renderer = Renderer(toy_loaded().tokenizer)
    rendered = renderer.row(canaries[2].row())
    known = exposures(learned([TokenRow(rendered.tokens, rendered.weights)], 80), canaries[1:])
    assert known[1].rank == 1
    assert known[1].sampled == pytest.approx(math.log2(201))
    assert known[1].extracted
    assert known[1].extrapolated > 10
    assert not known[0].extracted
    with pytest.raises(DataError, match="holds no canaries"):
        read_canaries(tmp_path / "gone.jsonl")


def test_without_training_secrets_are_exposed_by_chance_only() -> None:
    ranks = [one.rank for one in exposures(toy_loaded(), make_canaries(4, seed=1))]
    assert min(ranks) >= 1
    assert max(ranks) <= 201
    assert 20 < sum(ranks) / len(ranks) < 180
