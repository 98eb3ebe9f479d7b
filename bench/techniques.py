"""Every technique on the same rows and updates: quality with its interval, memory, time, size, forgetting.

Learning rates are tuned by held-out loss, that of shorter runs first, beyond the rates listed where the largest is the
best. As short runs like large rates, the best of them and the one below are trained in full, and the held-out loss of
these two decides (QLoRA and DoRA take LoRA's rate). Each training is a process of its own whose result is kept under
build/bench/techniques, so that a bench that was stopped goes on.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.pairs import BUILD, OFFLINE, ROOT, Options
from bench.snips import Request, requests

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data"))
FOLDER = BUILD / "techniques"
MODEL = "smollm2-135m-instruct"
TRAIN_ROWS = 4_000
HOLDOUT = 128 / TRAIN_ROWS
INTENT = "Classify the banking query into its intent.\nQuery: {text}"
REQUEST = "Turn the request into JSON with its intent and slots.\nRequest: {text}"


@dataclass(frozen=True)
class Tried:
    """A technique, and the learning rates between which the held-out loss decides."""

    name: str
    kind: str
    rates: tuple[float, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    rate_of: str | None = None
    """An earlier technique whose rate is taken: the same weights learn."""


TECHNIQUES = (
    Tried("full", "full", (3e-5, 1e-4, 3e-4)),
    Tried("LoRA", "lora", (5e-4, 1e-3, 2e-3)),
    Tried("QLoRA", "qlora", rate_of="LoRA"),
    Tried("adapter", "adapter", (5e-4, 1e-3, 2e-3)),
    Tried("sparse", "sparse", (3e-4, 1e-3, 3e-3), {"share": 0.046}),
    Tried("DoRA", "lora", settings={"dora": True}, rate_of="LoRA"),
    Tried("IA3", "ia3", (1e-2, 3e-2, 1e-1)),
    Tried("prefix", "prefix", (3e-2, 1e-1, 3e-1)),
    Tried("prompt", "prompt", (1e-1, 3e-1, 1.0)),
)


@dataclass(frozen=True)
class Lesson:
    """A task with its budget."""

    name: str
    steps: int
    tuning_steps: int
    limit: int
    """Test rows."""
    metric: str
    max_new_tokens: int
    batch_rows: int = 16
    classes: int | None = None
    """Intents that a lot chooses; all of them when left out."""


LESSONS = (
    Lesson("banking20", 150, 30, 800, "label", 20, classes=20),
    Lesson("snips2", 150, 30, 200, "json", 96, batch_rows=8, classes=2),
    Lesson("snips", 300, 40, 200, "json", 96),
    Lesson("banking77", 300, 60, 500, "label", 20),
)
"""The first two, 20 of the 77 intents and two of seven, are what a processor without 16-bit products can do in an
afternoon."""


def main(options: Options) -> None:
    """All techniques on all tasks, or with `--steps` that many updates instead."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in os.environ.get("TECHNIQUES_TASKS", "").split(",") if name]
    for lesson in LESSONS:
        if not wanted or lesson.name in wanted:
            print(f"### {lesson.name}: {options.steps or lesson.steps} updates of {lesson.batch_rows} rows\n")
            _table(lesson, options.steps or lesson.steps)


def _table(lesson: Lesson, steps: int) -> None:
    train, test = _rows_of(lesson)
    common = {"model": MODEL, "train": str(train), "holdout": HOLDOUT, "batch_rows": lesson.batch_rows}
    task = {
        "name": lesson.name,
        "data": str(test),
        "metric": lesson.metric,
        "limit": lesson.limit,
        "max_new_tokens": lesson.max_new_tokens,
    }
    base = _child(f"{lesson.name}.base", {**common, "technique": "base", "test": task})
    print(
        "| technique | learning rate | quality (95 %) | of full's | learned | saved MB | peak GB | s an update "
        "| choices right | nats a token of plain text |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    print(f"| base | | {_quality(base)} | | | | | | {base['choices']:.1%} | {base['text']:.3f} |", flush=True)
    full: dict[str, Any] | None = None
    chosen: dict[str, float] = {}
    for one in TECHNIQUES:
        rate, found = trained(lesson, one, {**common, "test": task}, steps=steps, known=chosen)
        chosen[one.name] = rate
        full = full or found
        print(
            f"| {one.name} | {rate:g} | {_quality(found)} | {_ratio(found, full)} | {found['trainable']:,} "
            f"| {found['saved']:.1f} | {found['peak']:.2f} | {found['seconds']:.2f} | {found['choices']:.1%} "
            f"| {found['text']:.3f} |",
            flush=True,
        )
    print()


def trained(
    lesson: Lesson, one: Tried, common: Mapping[str, Any], *, steps: int, known: Mapping[str, float]
) -> tuple[float, dict[str, Any]]:
    """The rate that the held-out loss decides for, and what was measured with it."""
    job = {**common, "technique": one.kind, "settings": dict(one.settings), "looks": True}
    rates = (known[one.rate_of],) if one.rate_of else _best_rates(lesson, one, job)
    found = {
        rate: _child(f"{lesson.name}.{one.name}.{steps}.{rate:g}", {**job, "steps": steps, "learning_rate": rate})
        for rate in rates
    }
    best = min(rates, key=lambda rate: _loss(found[rate]))
    return best, found[best]


def _best_rates(lesson: Lesson, one: Tried, job: Mapping[str, Any]) -> tuple[float, ...]:
    """The best of short runs, and the one below it."""

    def loss_at(rate: float) -> float:
        tuning = {**job, "steps": lesson.tuning_steps, "learning_rate": rate, "test": None}
        return _loss(_child(f"{lesson.name}.{one.name}.{lesson.tuning_steps}.{rate:g}.tuning", tuning))

    losses = {rate: loss_at(rate) for rate in one.rates}
    while (best := min(losses, key=lambda rate: losses[rate])) == max(losses):
        beyond = float(f"{best * one.rates[-1] / one.rates[-2]:.2g}")
        losses[beyond] = loss_at(beyond)
    return best, *sorted(rate for rate in losses if rate < best)[-1:]


def _loss(found: Mapping[str, Any]) -> float:
    """Of held-out rows; infinite where training came to nothing."""
    return found.get("heldout_loss") or math.inf


def _quality(found: Mapping[str, Any]) -> str:
    return f"{found['quality']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def _ratio(found: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """Of the full model's quality, with the paired 95 % interval of the ratio (delta method)."""
    ours, its = found["scores"], full["scores"]
    count, mean, other = len(ours), found["quality"], full["quality"]
    if not other:
        return "-"
    ratio = mean / other
    spread = [(a - ratio * b) / other for a, b in zip(ours, its, strict=True)]
    half = 1.96 * math.sqrt(math.fsum(value * value for value in spread)) / count
    return f"{ratio:.1%} ± {half:.1%}"


def _child(name: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job's result, from an earlier run where its file says the same job."""
    place, result = FOLDER / f"{name}.job.json", FOLDER / f"{name}.json"
    written = json.dumps(job, sort_keys=True)
    if result.exists() and place.read_text(encoding="utf-8") == written:
        return dict(json.loads(result.read_text(encoding="utf-8")))
    place.write_text(written, encoding="utf-8")
    command = [sys.executable, "-m", "bench.ours.techniques", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found = dict(json.loads(done.stdout.strip().splitlines()[-1]))
    result.write_text(json.dumps(found), encoding="utf-8")
    return found


def _rows_of(lesson: Lesson) -> tuple[Path, Path]:
    """Files of prompts and completions for training and test, seen from ROOT: the same job in every checkout."""
    places = FOLDER / f"{lesson.name}.train.jsonl", FOLDER / f"{lesson.name}.test.jsonl"
    made = _snips(lesson.classes) if lesson.metric == "json" else _banking77(lesson.classes)
    for place, rows in zip(places, (made[0][:TRAIN_ROWS], made[1]), strict=True):
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return places[0].relative_to(ROOT), places[1].relative_to(ROOT)


def _banking77(classes: int | None) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    found, chosen = [], None
    for name in ("train", "test"):
        with (DATA / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file))
        chosen = chosen or _by_lot({row["category"] for row in read}, classes)
        rows = [
            {"prompt": INTENT.format(text=row["text"]), "completion": row["category"]}
            for row in read
            if row["category"] in chosen
        ]
        random.Random(0).shuffle(rows)
        found.append(rows)
    return found[0], found[1]


def _snips(classes: int | None) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    train, test = (requests(DATA / "snips", test=test) for test in (False, True))
    chosen = _by_lot({each.intent for each in train}, classes)
    return [_request(each) for each in train if each.intent in chosen], [
        _request(each) for each in test if each.intent in chosen
    ]


def _by_lot(intents: set[str], number: int | None) -> set[str]:
    return set(random.Random(0).sample(sorted(intents), number or len(intents)))


def _request(request: Request) -> dict[str, str]:
    answer = json.dumps({"intent": request.intent, "slots": request.slots}, ensure_ascii=False)
    return {"prompt": REQUEST.format(text=request.text), "completion": answer}
