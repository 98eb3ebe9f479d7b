"""A run directory like a real one, written without training anything: the pages only ever read files."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etude.comparison.gap import Gap
from etude.comparison.verdict import compare_all, save_verdicts
from etude.evaluation.intervals import bootstrap_ratio, mean_interval
from etude.evaluation.metrics.base import Metric
from etude.evaluation.metrics.json_fields import JsonFields
from etude.evaluation.metrics.label import Label
from etude.evaluation.report import ItemResult, Report
from etude.runs.manifest import BaseModel, DataSource, Manifest

HASH = "9f2c4e7ab01d5638" * 4
PRODUCTS = ("router", "mobile plan", "billing portal", "smart tv", "webmail")
INTENTS = ("refund", "outage", "cancel", "upgrade", "invoice", "login")
URGENCY = ("low", "normal", "high")
COMPLAINTS = {
    "refund": "I was charged twice for my {product}, order {order}. Please give the money back.",
    "outage": "My {product} has been down since this morning!! Order number is {order}.",
    "cancel": "Bitte kündigen Sie meinen Vertrag für {product} ({order}) zum Monatsende.",
    "upgrade": "Hi, can I move to a bigger {product}? My order: {order}\n\nThanks,\n  Ana",
    "invoice": "Où est ma facture pour {product} ? Commande {order}",
    "login": "can't sign in to {product} since the update, ref {order}",
}
LANGUAGE = {"cancel": "de", "invoice": "fr"}


def write_run(
    folder: Path, *, rows: int = 200, steps: int = 120, num_labels: int = 12, status: str = "finished", seed: int = 0
) -> Path:
    """A finished run with a JSON task, a label task and a perplexity task."""
    folder.mkdir(parents=True)
    write_metrics(folder, steps=steps, seed=seed)
    write_data(folder)
    write_run_file(folder)
    pairs = [tickets(rows, seed), intents(rows, num_labels, seed), prose(rows // 4, seed)]
    for base, tuned in pairs:
        base.save(folder / "reports" / f"{base.task}.base.jsonl")
        tuned.save(folder / "reports" / f"{tuned.task}.jsonl")
    gap = Gap(
        train_loss=0.0412,
        heldout_loss=0.0731,
        gap=0.0319,
        low=0.0117,
        high=0.0532,
        level=0.95,
        n_train=720,
        n_heldout=80,
    )
    save_verdicts(folder / "verdict.json", compare_all([(tuned, base) for base, tuned in pairs]), gap)
    write_manifest(folder, status=status)
    return folder


def write_manifest(folder: Path, *, status: str = "finished", **changes: Any) -> None:
    values: dict[str, Any] = {
        "run_id": "7f3a91c04d2e", "created": "2026-11-22T02:31:07+00:00", "status": status, "etude_version": "0.1.0",
        "versions": {"python": "3.11.9", "torch": "2.13.0+cpu", "transformers": "5.23.0"},
        "base": BaseModel("smollm2-135m-instruct", HASH), "data": DataSource(HASH[::-1], "tickets.jsonl"),
        "template_sha256": HASH[8:] + HASH[:8], "config_sha256": HASH[4:] + HASH[:4], "seed": 0,
        "command": ("etude", "train", "tickets.yaml", "training.epochs=2", "output=runs/my tickets"),
        "timings": {"prepare": 1.9, "evaluate base": 58.4, "train": 171.2, "evaluate": 49.7, "compare": 1.4},
    }  # fmt: skip
    manifest = Manifest(**{**values, **changes})
    (manifest.finished(folder) if status == "finished" else manifest).save(folder)


def write_metrics(folder: Path, *, steps: int, seed: int, looks: int = 10) -> None:
    chance = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        share = step / steps
        expected = 0.04 + 2.1 * math.exp(-7 * share)
        lines.append(
            {
                "step": step, "epoch": round(2 * share, 4), "loss": expected * chance.uniform(0.75, 1.3),
                "learning_rate": 1e-3 * min(step / (0.05 * steps), 0.5 * (1 + math.cos(math.pi * share))),
                "grad_norm": 0.3 + 2 * expected * chance.uniform(0.6, 1.5), "rows": 16,
                "tokens": chance.randint(2300, 2700), "tokens_computed": chance.randint(1100, 1300),
                "seconds": chance.uniform(1.2, 1.6), "time": 1.76e9 + step,
            }
        )  # fmt: skip
        if step % max(1, steps // looks) == 0:
            lines.append({"step": step, "heldout_loss": 0.07 + 2.0 * math.exp(-6.5 * share), "time": 1.76e9 + step})
    write_lines(folder / "metrics.jsonl", lines)
    write_lines(folder / "samples.jsonl", [{"step": step, "ids": ["tickets.jsonl:1"]} for step in range(1, steps + 1)])


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_data(folder: Path, **changes: Any) -> None:
    example = [
        ["<|im_start|>", "control"], ["system\n", "context"], ["Read the ticket and answer with JSON.", "context"],
        ["<|im_end|>", "control"], ["\n", "context"], ["<|im_start|>", "control"], ["user\n", "context"],
        ["My router has been down since this morning!! Order number is A-2291.", "context"], ["<|im_end|>", "control"],
        ["\n", "context"], ["<|im_start|>", "control"], ["assistant\n", "context"],
        ['{"intent": "outage", "product": "router", "order": "A-2291", "language": "en"}', "learned"],
        ["<|im_end|>", "learned"], ["\n", "context"],
    ]  # fmt: skip
    summary = {
        "source": "tickets.jsonl", "detected": "JSONL, messages (role/content), 812 rows", "format": "messages",
        "sha256": HASH,
        "rows": 812, "bad_rows": 3, "train_rows": 720, "heldout_rows": 80,
        "tokens": {"total": 104_812, "learned": 31_977, "longest": 318, "median": 139, "p95": 201},
        "over_length": {"policy": "drop", "dropped": 2, "truncated": 0},
        "duplicates": {"within_train": 9, "across_split": 0},
        "windows": {}, "odd": {"control_text": 1, "boundary": 0}, "notes": ["9 rows repeat an earlier one"],
        "template_sha256": HASH, "examples": [example, example[5:], example],
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(summary | changes), encoding="utf-8")


def write_run_file(folder: Path) -> None:
    (folder / "run.yaml").write_text(
        "model:\n  name: smollm2-135m-instruct\n  precision: bfloat16\n"
        "data:\n  train: tickets.jsonl\n  holdout: 0.1\n  max_tokens: 1024\n"
        "technique:\n  kind: lora\n  rank: 16\n  alpha: 32\nobjective:\n  kind: sft\n"
        "training:\n  epochs: 2\n  learning_rate: 0.001\n  batch_rows: 16\n  seed: 0\n"
        "evaluation:\n  tasks: [tickets.task.yaml, intents.task.yaml, prose.task.yaml]\noutput: runs/my tickets\n",
        encoding="utf-8",
    )


def tickets(rows: int, seed: int) -> tuple[Report, Report]:
    """A JSON task that the base fails and training nearly masters; some items get worse."""
    chance = random.Random(seed)
    base: list[tuple[str, str, str]] = []
    tuned: list[tuple[str, str, str]] = []
    for _ in range(rows):
        intent, product = chance.choice(INTENTS), chance.choice(PRODUCTS)
        order = f"{chance.choice('ABC')}-{chance.randint(1000, 9999)}"
        right = {
            "intent": intent, "product": product, "urgency": chance.choice(URGENCY), "order": order,
            "language": LANGUAGE.get(intent, "en"),
        }  # fmt: skip
        prompt = COMPLAINTS[intent].format(product=product, order=order)
        reference = json.dumps(right, ensure_ascii=False)
        base.append((prompt, reference, reference if chance.random() < 0.03 else base_answer(right, chance)))
        wrong = json.dumps(right | {"urgency": chance.choice(URGENCY), "order": order[:-1]}, ensure_ascii=False)
        tuned.append((prompt, reference, reference if chance.random() < 0.91 else wrong))
    metric = JsonFields()
    return report("tickets", base, metric, subject="base"), report("tickets", tuned, metric, subject="runs/my tickets")


def base_answer(right: dict[str, Any], chance: random.Random) -> str:
    if chance.random() < 0.4:
        return f"Sure! Here is the JSON you asked for:\n\n  intent: {right['intent']}\n  product: {right['product']}\n"
    return json.dumps({"intent": right["intent"], "product": "unknown", "urgency": "high"})


def intents(rows: int, num_labels: int, seed: int) -> tuple[Report, Report]:
    """A label task; the tuned model mixes up neighbouring labels."""
    chance = random.Random(seed + 1)
    labels = tuple(
        f"card payment {number:02d}" if number % 3 else f"top up by transfer {number:02d}"
        for number in range(num_labels)
    )
    base: list[tuple[str, str, str]] = []
    tuned: list[tuple[str, str, str]] = []
    for _ in range(rows):
        place = chance.randrange(num_labels)
        near = labels[(place + 1) % num_labels]
        prompt = f"Which intent? Why was my {labels[place]} declined?"
        base.append((prompt, labels[place], chance.choice([labels[0], labels[place], "I am not sure.", labels[2]])))
        tuned.append((prompt, labels[place], labels[place] if chance.random() < 0.88 else near))
    metric = Label(labels=labels)
    return report("intents", base, metric, subject="base"), report("intents", tuned, metric, subject="runs/my tickets")


def prose(rows: int, seed: int) -> tuple[Report, Report]:
    """A perplexity task: lower is better, nothing is generated."""
    chance = random.Random(seed + 2)
    both = []
    nats = [chance.uniform(2.6, 3.4) for _ in range(rows)]
    for subject, shift in (("base", 0.0), ("runs/my tickets", 0.02)):
        items = tuple(
            ItemResult(
                id=f"prose.txt:{number}", prompt=f"Paragraph {number}", reference=None, answer=None, weight=100.0,
                scores={"nats_per_token": value + shift * chance.uniform(-1, 2)}, prompt_tokens=100,
            )
            for number, value in enumerate(nats, 1)
        )  # fmt: skip
        values = [item.scores["nats_per_token"] for item in items]
        mean = sum(values) / len(values)
        interval = bootstrap_ratio([100 * value for value in values], [100.0] * len(values)).interval(0.95)
        both.append(
            Report(
                task="prose", metric="nats_per_token", subject=subject, model_hash=HASH, items=items,
                summary={"nats_per_token": mean, "perplexity": math.exp(mean), "num_tokens": 100.0 * rows},
                data_sha256=HASH, higher_is_better=False, intervals={"nats_per_token": interval},
                settings={"metric": "perplexity"},
            )
        )  # fmt: skip
    return both[0], both[1]


def report(task: str, rows: Sequence[tuple[str, str, str]], metric: Metric, *, subject: str) -> Report:
    """The report that evaluation would write for these (prompt, reference, answer) rows."""
    scored = [metric.score(answer, reference) for _, reference, answer in rows]
    summary = metric.summarize(scored, [reference for _, reference, _ in rows])
    items = tuple(
        ItemResult(
            id=f"{task}.jsonl:{number}", prompt=prompt, reference=reference, answer=answer, scores=one.scores,
            details=one.details, prompt_tokens=60, answer_tokens=30, finish="stop",
        )
        for number, ((prompt, reference, answer), one) in enumerate(zip(rows, scored, strict=True), 1)
    )  # fmt: skip
    intervals = {name: mean_interval([one.scores[name] for one in scored]) for name in scored[0].scores}
    return Report(
        task=task, metric=metric.primary, subject=subject, model_hash=HASH, items=items, summary=summary.scores,
        data_sha256=HASH, intervals=intervals, tables=summary.tables,
    )  # fmt: skip
