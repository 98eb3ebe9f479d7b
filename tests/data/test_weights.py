"""A row's weight on its way from the file to the batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.data.batches import batches
from etude.data.prepare import prepare
from etude.data.read import read
from etude.data.render import Renderer
from etude.errors import Problems
from etude.packing import pack
from tests.toy import toy_loaded, toy_tokenizer

PAIRS = [
    {"prompt": f"what is {i}?", "chosen": f"the fox {i}", "rejected": "dog", "weight": weight}
    for i, weight in enumerate((0.25, None, 1, 2.5))
]
JUDGED = [{"prompt": f"is it {i}?", "completion": "yes", "label": i == 0, "weight": 0.5 + i} for i in range(2)]


def written(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("rows", "weights"), [(PAIRS, [0.25, 1, 1, 2.5]), (JUDGED, [0.5, 1.5])])
@pytest.mark.parametrize("on_disk", [False, True])
def test_weights_reach_the_batch(
    rows: list[dict[str, object]], weights: list[float], on_disk: bool, tmp_path: Path
) -> None:
    records = read(written(tmp_path, rows))
    assert [record.weight for record in records] == weights  # type: ignore[union-attr]
    assert "not used" not in records.detected
    (tmp_path / "store").mkdir()
    prepared = prepare(
        records, Renderer(toy_tokenizer()), max_tokens=64, folder=tmp_path / "store" if on_disk else None
    )
    assert [sample.weight for sample in prepared.samples] == weights
    assert pack(prepared.samples).sample_weight_P.tolist() == weights
    (step,) = batches(records, toy_loaded()).steps(
        batch_rows=len(rows), seed=0, first=0, total_samples=len(rows), share=lambda parts: parts
    )
    assert sorted(step.batches[0].sample_weight_P.tolist()) == sorted(weights)


def test_a_weight_must_be_a_number_above_0(tmp_path: Path) -> None:
    rows = [{**PAIRS[0], "weight": wrong} for wrong in (0, -1, "much", "1e999")]
    with pytest.raises(Problems) as caught:
        read(written(tmp_path, rows))
    said = str(caught.value)
    assert "rows.jsonl:1: weight must be above 0, found 0; leave the row out if it is not to count" in said
    assert "rows.jsonl:2: weight must be above 0, found -1" in said
    assert "rows.jsonl:3: weight holds text, not a number" in said
    assert "rows.jsonl:4: weight is inf, not a number" in said
