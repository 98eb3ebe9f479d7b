"""Faults planted into real rows are found where they were put; the rows as they came stay mostly quiet."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from etude.data.audit.audit import Audit, audit
from etude.data.audit.options import AuditOptions
from etude.data.inputs import Reading, open_inputs
from etude.data.render import Renderer
from tests.data.tokenizers_zoo import families

pytestmark = pytest.mark.realdata
COLUMNS = {"prompt": "{text}", "completion": "category"}
INTENTS = ("GetWeather", "PlayMusic", "RateBook", "BookRestaurant")
ROWS = 2_000


def banking(realdata: Path) -> list[dict[str, str]]:
    """Rows of twenty intents, the same ones each time."""
    import csv

    with (realdata / "banking77" / "train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = sorted({row["category"] for row in rows})[::4]
    return [row for row in rows if row["category"] in kept][:ROWS]


def snips(realdata: Path) -> list[dict[str, str]]:
    """Requests with their intent."""
    rows = []
    for intent in INTENTS:
        held = json.loads((realdata / "snips" / f"validate_{intent}.json").read_text(encoding="utf-8"))[intent]
        for item in held:
            text = "".join(part["text"] for part in item["data"])
            rows.append({"text": text.strip(), "category": intent})
    return rows


def audited(rows: list[dict[str, str]], path: Path, **options: object) -> Audit:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    inputs = open_inputs([path], Reading(columns=COLUMNS))
    return audit(inputs, AuditOptions(**options), renderer=Renderer(families()["chatml"]), model="chatml")  # type: ignore[arg-type]


def lines(found: Audit, check: str) -> set[int]:
    return {place.origin.line for finding in found.findings if finding.check == check for place in finding.places}


def checks(found: Audit) -> dict[str, str]:
    return {finding.check: finding.severity for finding in found.findings}


def test_planted_faults_are_found_and_little_else(realdata: Path, tmp_path: Path) -> None:
    rows = banking(realdata)
    draw = random.Random(3)
    labels = sorted({row["category"] for row in rows})
    places = draw.sample(range(len(rows)), 180)
    personal = places[155:165]
    flipped, damaged, spaced, copied, rude = (
        places[:100],
        places[100:110],
        places[110:130],
        places[130:150],
        places[150:155],
    )
    for at in flipped:
        rows[at] = {**rows[at], "category": draw.choice([label for label in labels if label != rows[at]["category"]])}
    for at in damaged:
        rows[at] = {**rows[at], "text": f"{rows[at]['text']} – merci, café".encode().decode("cp1252")}
    for at in spaced:
        rows[at] = {**rows[at], "category": f"{rows[at]['category']} "}
    for at in rude:
        rows[at] = {**rows[at], "text": f"{rows[at]['text']} you 1diots"}
    for at in personal:
        rows[at] = {**rows[at], "text": f"{rows[at]['text']} My mail is jo{at}@example.com"}
    rows += [{**rows[at], "text": rows[at]["text"].upper()} for at in copied]
    rows += [{"text": "What is my balance?", "category": ""}, {"text": "Hi", "category": "card_arival"}]
    found = audited(rows, tmp_path / "rows.jsonl")

    assert lines(found, "misread-encoding") == {at + 1 for at in damaged}
    assert lines(found, "outer-spaces") == {at + 1 for at in spaced}
    assert lines(found, "exact-copies") >= {len(rows) - 22 + at + 1 for at in range(20)}
    assert lines(found, "toxic-inputs") >= {at + 1 for at in rude}
    assert lines(found, "unusable-rows") == {len(rows) - 1}
    assert lines(found, "personal-data") == {at + 1 for at in personal}
    noisy = lines(found, "label-noise") | lines(found, "contradictions")
    right = noisy & {at + 1 for at in flipped}
    assert len(right) >= 70, "recall"
    assert len(right) >= 0.75 * len(noisy), "precision"
    assert checks(found)["label-noise"] == "warning"
    assert found.fails("error")
    worst = next(finding for finding in found.findings if finding.check == "label-noise").places[:20]
    assert sum(place.origin.line - 1 in flipped for place in worst) >= 19, "the surest come first"


def test_rows_as_they_came_are_mostly_quiet(realdata: Path, tmp_path: Path) -> None:
    found = audited(banking(realdata), tmp_path / "banking.jsonl")
    assert not found.count("error")
    assert found.count("warning") == 0, checks(found)
    assert len(lines(found, "label-noise")) <= 0.01 * found.rows
    other = audited(snips(realdata), tmp_path / "snips.jsonl")
    assert not other.count("error")
    assert other.count("warning") == 0, checks(other)
    assert len(lines(other, "label-noise")) <= 0.01 * other.rows
