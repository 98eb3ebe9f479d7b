"""How often the verdict is wrong: same settings and other seeds, A/A by resampling, planted regressions (minutes).

Twelve small text classifiers (hashed words, one hidden layer) are trained from scratch on BANKING77 with the same
settings and different seeds; their item scores on the 3,080 test queries are what everything is resampled from.
`--model NAME` trains that model with `etude train` instead, eight seeds of it (hours).
"""

from __future__ import annotations

import csv
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.pairs import BUILD, OFFLINE, ROOT, Options
from etude.comparison.judgement import judge
from etude.comparison.pairing import Table
from etude.comparison.power import design_effect, means_power, proportions_power
from etude.comparison.verdict import compare
from etude.evaluation.report import ItemResult, Report
from etude.runs.directory import is_run, open_run

if TYPE_CHECKING:
    from torch import Tensor

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data")) / "banking77"
SEEDS, RUN_SEEDS = 12, 8
TRAIN_ROWS, EPOCHS, BUCKETS, HIDDEN = 2_000, 12, 1 << 13, 64
SIMULATIONS, PLANTED_SIMULATIONS, RESAMPLES = 1_000, 300, 999
SIZES = (30, 100, 300, 1_000)
REGRESSIONS = (0.01, 0.02, 0.05, 0.10)
GROUP = 5
"""Items of one intent that make a group, in the clustered rows."""
THRESHOLD = 0.05
"""The peer's gate: a drop of the mean above this, whatever the number of items."""
RUN_FILE = """
model: {model}
data: {{train: train.csv, columns: {{prompt: "Query: {{text}}", completion: category}}, holdout: 0, max_tokens: 128}}
technique: {{kind: lora, rank: 16}}
training: {{epochs: 1, learning_rate: 1e-3, batch_rows: 32}}
evaluation: {{tasks: [banking77.task.yaml], base: false}}
"""
TASK = 'name: banking77\ndata: test.csv\ncolumns: {prompt: "Query: {text}", completion: category}\nmetric: label\n'

Scores = NDArray[np.float64]


def main(options: Options) -> None:
    """Trains what is not there yet, simulates, prints the tables."""
    reports = trained_runs(options.model) if options.model else trained_small()
    same_settings(reports)
    right = np.asarray([[item.scores["accuracy"] for item in report.items] for report in reports[:2]])
    print_errors("right or wrong", right, None)
    if "probability" in reports[0].items[0].scores:
        graded = np.asarray([[item.scores["probability"] for item in report.items] for report in reports[:2]])
        print_errors("probability of the right label", graded, None)
    order = sorted(range(right.shape[1]), key=lambda place: reports[0].items[place].reference or "")
    print_errors(f"right or wrong, groups of {GROUP} of one intent", right[:, order], GROUP)


def trained_small() -> list[Report]:
    """A report for each seed, kept under build/."""
    folder = BUILD / "verdicts"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(SEEDS):
        file = folder / f"seed-{seed}.jsonl"
        if not file.exists():
            small_classifier(seed).save(file)
    return [Report.load(folder / f"seed-{seed}.jsonl") for seed in range(SEEDS)]


def rows_of(name: str) -> list[tuple[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def hashed(text: str) -> list[int]:
    """Buckets of the words and of neighbouring words; the same in every process."""
    words = text.lower().split()
    return [random.Random(part).randrange(BUCKETS) for part in [*words, *map(" ".join, itertools.pairwise(words))]]


def small_classifier(seed: int) -> Report:
    """One hidden layer over hashed words; the seed decides its first weights, its order and its dropout."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    learned = random.Random(0).sample(rows_of("train.csv"), TRAIN_ROWS)
    asked = rows_of("test.csv")
    labels = sorted({label for _, label in learned})
    number = {label: place for place, label in enumerate(labels)}
    words = torch.nn.EmbeddingBag(BUCKETS, HIDDEN)
    above = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(HIDDEN, len(labels)))
    optimizer = torch.optim.Adam([*words.parameters(), *above.parameters()], lr=5e-3)
    encoded = [(hashed(text), number[label]) for text, label in learned]
    for _ in range(EPOCHS):
        for places in torch.randperm(len(encoded)).split(64):
            batch = [encoded[place] for place in places.tolist()]
            logits = above(words(*flat([row for row, _ in batch])))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label for _, label in batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    above.eval()
    with torch.no_grad():
        chances = above(words(*flat([hashed(text) for text, _ in asked]))).softmax(dim=1)
    items = tuple(
        ItemResult(
            id=f"test.csv:{place + 2}", prompt=text, reference=label, answer=labels[int(row.argmax())],
            scores={"accuracy": float(labels[int(row.argmax())] == label), "probability": float(row[number[label]])},
        )
        for place, ((text, label), row) in enumerate(zip(asked, chances, strict=True))
    )  # fmt: skip
    score = float(np.mean([item.scores["accuracy"] for item in items]))
    return Report(
        task="banking77", metric="accuracy", subject=f"seed {seed}", model_hash="", items=items,
        summary={"accuracy": score}, data_sha256="banking77 test",
    )  # fmt: skip


def flat(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Word numbers one row after the other, and where each row begins."""
    import torch

    starts = list(itertools.accumulate([0, *map(len, rows[:-1])]))
    return torch.tensor([word for row in rows for word in row]), torch.tensor(starts)


def trained_runs(model: str) -> list[Report]:
    """`etude train` with each seed, on BANKING77; runs that are finished stay."""
    folder = BUILD / "verdicts-runs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes((DATA / name).read_bytes())
    (folder / "banking77.task.yaml").write_text(TASK, encoding="utf-8")
    (folder / "run.yaml").write_text(RUN_FILE.format(model=model), encoding="utf-8")
    etude = Path(sys.executable).with_name("etude")
    runs = [folder / f"seed-{seed}" for seed in range(RUN_SEEDS)]
    for seed, run in enumerate(runs):
        if is_run(run) and open_run(run).state == "finished":
            continue
        command = [str(etude), "train", str(folder / "run.yaml"), f"training.seed={seed}", f"output={run}"]
        subprocess.run(command, check=True, env={**os.environ, **OFFLINE})
    return [Report.load(open_run(run).report("banking77")) for run in runs]


def same_settings(reports: Sequence[Report]) -> None:
    """Models of the same settings against each other: every difference that is claimed is a false alarm."""
    spread = [report.score for report in reports]
    print(f"\n{len(reports)} seeds, accuracy {min(spread):.1%} to {max(spread):.1%}\n")
    print("| compared | items | comparisons | called different | largest difference |\n|---|---|---|---|---|")
    for size in (300, len(reports[0].items)):
        shown = [cut(report, size) for report in reports]
        pairs = list(itertools.combinations(shown, 2))
        tell("one model with one model", size, [([one], [other]) for one, other in pairs])
        half = len(shown) // 2
        for many in (2, half):
            tell(f"{many} seeds with {many} others", size, list(splits(shown, many)))


def splits(reports: Sequence[Report], many: int, most: int = 60) -> Iterator[tuple[list[Report], list[Report]]]:
    """Disjoint sides of so many models, drawn by lot."""
    chance = random.Random(many)
    for _ in range(most):
        drawn = chance.sample(list(reports), 2 * many)
        yield drawn[:many], drawn[many:]


def cut(report: Report, size: int) -> Report:
    """The same items of every report, spread over all labels."""
    items = random.Random(0).sample(report.items, size)
    score = float(np.mean([item.scores["accuracy"] for item in items]))
    return Report(
        task=report.task, metric="accuracy", subject=report.subject, model_hash="", items=tuple(items),
        summary={"accuracy": score}, data_sha256=report.data_sha256,
    )  # fmt: skip


def tell(what: str, size: int, sides: Sequence[tuple[list[Report], list[Report]]]) -> None:
    verdicts = [compare(one, other) for one, other in sides]
    alarms = sum(verdict.answer in ("better", "worse") for verdict in verdicts)
    largest = max(abs(verdict.difference) for verdict in verdicts)
    share = f"{alarms} ({alarms / len(verdicts):.1%})"
    print(f"| {what} | {size:,} | {len(verdicts)} | {share} | {100 * largest:.1f} points |", flush=True)


def print_errors(name: str, pool: Scores, group: int | None) -> None:
    """False alarms where nothing differs, and misses of planted regressions, beside the fixed threshold."""
    print(f"\n{name}\n")
    heads = [f"−{100 * size:.0f}" for size in REGRESSIONS]
    missed = " | ".join(f"missed {head}" for head in heads)
    print(f"| items | called different, A/A | a drop above {THRESHOLD}, A/A | {missed} |")
    print("|---" * (3 + len(heads)) + "|")
    for n in SIZES:
        alarms, drops = error_rates(pool, n, group, 0.0, SIMULATIONS)
        cells = [f"{alarms:.1%}", f"{drops:.1%}"]
        for size in REGRESSIONS:
            found, dropped = error_rates(pool, n, group, size, PLANTED_SIMULATIONS)
            stated = stated_power(pool, n, group, size)
            cells.append(f"{1 - found:.0%} (stated {1 - stated:.0%}; threshold {1 - dropped:.0%})")
        print(f"| {n:,} | {' | '.join(cells)} |", flush=True)


def error_rates(pool: Scores, n: int, group: int | None, size: float, simulations: int) -> tuple[float, float]:
    """Shares of simulations called different (for a planted drop: worse), and dropped by more than the threshold."""
    generator = np.random.default_rng(1)
    called = dropped = 0
    number = None if group is None else np.arange(n // group).repeat(group)
    for simulation in range(simulations):
        scores = drawn(generator, pool, n, group, size)
        evidence = Table(scores, np.ones(scores.shape[1]), number, tuned=1).evidence(
            "bench", resamples=RESAMPLES, seed=simulation
        )
        (judged,) = judge([evidence], level=0.95)
        called += judged.answer == "worse" if size else judged.answer in ("better", "worse")
        dropped += scores[0].mean() < scores[1].mean() - THRESHOLD
    return called / simulations, dropped / simulations


def drawn(generator: np.random.Generator, pool: Scores, n: int, group: int | None, size: float) -> Scores:
    """Scores [2, n] of resampled items (or groups), by lot whose are whose; then the first model loses `size`."""
    width = group or 1
    starts = width * generator.integers(0, pool.shape[1] // width, n // width)
    places = (starts[:, None] + np.arange(width)).ravel()
    swap = generator.random(n // width).repeat(width) < 0.5
    scores = pool[:, places].copy()
    scores[:, swap] = scores[::-1, swap]
    lost = generator.random(len(places)) < size / pool.mean()
    scores[0, lost] = 0.0
    return scores


def stated_power(pool: Scores, n: int, group: int | None, size: float) -> float:
    """What `etude power` says beforehand, from the two reports and the drop to be found."""
    gains = pool[0] - pool[1]
    worth = n
    if group is not None:
        worth = int(n / design_effect(gains, np.arange(len(gains) // group + 1).repeat(group)[: len(gains)]))
    # a lost item was right in both models, or in the one that lost it: it differs now, or no longer
    if set(np.unique(pool)) <= {0.0, 1.0}:
        apart, kept = float((gains != 0).mean()), float((pool.sum(axis=0) == 2).mean())
        loses = size / pool.mean()
        discordance = max(apart + loses * (kept - apart / 2), size)
        return proportions_power(worth, discordance=discordance, gain=size)
    deviation = float(np.sqrt(gains.var() + size * float((pool**2).mean()) / pool.mean()))
    return means_power(worth, deviation=deviation, gain=size)
