"""Cleaning and rendering of rows against `datasets.map` with the usual library, and a million rows in bounded memory.

Peers: datasketch for near copies (`pip install datasketch`; the part is left out where it is missing), transformers'
own chat template for rendering. Seconds are of the processor, so that a busy machine distorts them less; sides go by
turns.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ORIGINALS, COPIES, EQUAL = 8_000, 1_500, 500
TURNS = 3
WIDTH, THRESHOLD, PERMUTATIONS = 5, 0.8, 128
MILLION = int(os.environ.get("ETUDE_BENCH_ROWS", "1000000"))
MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Planted:
    """Rows of which it is known which are copies."""

    path: Path
    copies: set[int]
    """Places of rows that should go; those that stand before them are their originals."""


def words_of(draw: random.Random, size: int = 20_000) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(size)]


def edited(text: str, draw: random.Random, words: list[str]) -> str:
    """A word other, more or less, a typing mistake, or case and punctuation."""
    parts = text.split()
    at = draw.randrange(len(parts))
    kinds = {"other": [draw.choice(words)], "more": [parts[at], draw.choice(words)], "less": [],
             "mistyped": [parts[at][1:] + parts[at][:1]], "loud": [parts[at].upper() + "!"]}  # fmt: skip
    parts[at : at + 1] = kinds[draw.choice(list(kinds))]
    return " ".join(parts)


def plant(folder: Path) -> Planted:
    """Originals of 20 to 60 made-up words, then edited and equal copies of some of them."""
    draw = random.Random(0)
    words = words_of(draw)
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 60))) for _ in range(ORIGINALS)]
    texts += [edited(draw.choice(texts[:ORIGINALS]), draw, words) for _ in range(COPIES)]
    texts += [draw.choice(texts[:ORIGINALS]) for _ in range(EQUAL)]
    path = folder / "planted.jsonl"
    write(path, ({"prompt": text, "completion": "ok"} for text in texts))
    return Planted(path, set(range(ORIGINALS, len(texts))))


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


def ours(planted: Planted) -> set[int]:
    """Places of the rows that `etude data clean` drops."""
    from etude.data.clean import Clean
    from etude.data.inputs import open_inputs
    from etude.data.work import dropped_of, work

    output = planted.path.with_name("ours.jsonl")
    work(open_inputs([planted.path]), Clean(), output, force=True)
    return {json.loads(line)["line"] - 1 for line in dropped_of(output).read_text().splitlines()}


def theirs(planted: Planted) -> set[int]:
    """The same with datasets and datasketch: sets of the same pieces, signatures by `map`, then an index."""
    import datasets
    from datasketch import MinHash, MinHashLSH

    def signed(row: dict[str, Any]) -> dict[str, Any]:
        text = " ".join(row["prompt"].casefold().split())
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch({text[at : at + WIDTH].encode() for at in range(max(1, len(text) - WIDTH + 1))})
        return {"signature": signature.hashvalues}

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(planted.path), split="train", cache_dir=cache)
        rows = rows.map(signed).with_format("numpy", columns=["signature"], output_all_columns=True)
        index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
        dropped: set[int] = set()
        for place, row in enumerate(rows):
            signature = MinHash(hashvalues=row["signature"], scheme="affine32")
            if index.query(signature):
                dropped.add(place)
            else:
                index.insert(place, signature)
        rows.remove_columns("signature").select(sorted(set(range(len(rows))) - dropped)).to_json(
            str(planted.path.with_name("theirs.jsonl"))
        )
    return dropped


def render_ours(path: Path) -> None:
    """Read, check, render, and tell the learned tokens from the others."""
    from etude.data.prepare import prepare
    from etude.data.read import read
    from etude.data.render import Renderer
    from etude.models.load import load_tokenizer

    prepare(read(path, max_bad_share=1.0), Renderer(load_tokenizer(MODEL)), max_tokens=4096)


def render_theirs(path: Path) -> None:
    """Render by transformers' own template through `map`."""
    import datasets

    from etude.models.load import load_tokenizer

    tokenizer = load_tokenizer(MODEL)

    def rendered(batch: dict[str, list[Any]]) -> dict[str, Any]:
        chats = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            for asked, answer in zip(batch["prompt"], batch["completion"], strict=True)
        ]
        return {"input_ids": tokenizer.apply_chat_template(chats, tokenize=True, return_dict=False)}

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        rows.map(rendered, batched=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def by_turns(sides: dict[str, Callable[[], Any]], num_rows: int, judge: Callable[[Any], str]) -> None:
    """A line a side: rows a second of processor time, median and range, and what came out."""
    runs: dict[str, list[tuple[float, Any]]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, work in sides.items():
            runs[name].append(timed(work))
    for name, found in runs.items():
        rates = sorted(num_rows / seconds for seconds, _ in found)
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        print(f"| {name} | {median(rates):,.0f} | {spread} | {judge(found[-1][1])} |", flush=True)


def copies_table(folder: Path) -> None:
    planted = plant(folder)
    sides: dict[str, Callable[[], set[int]]] = {"`etude data clean`": lambda: ours(planted)}
    if find_spec("datasketch") is not None:
        sides["datasets.map + datasketch"] = lambda: theirs(planted)

    def judge(dropped: set[int]) -> str:
        right = len(dropped & planted.copies)
        return f"{right / len(planted.copies):.2%} | {right / max(1, len(dropped)):.2%}"

    print(f"{ORIGINALS:,} originals, {COPIES:,} edited copies, {EQUAL:,} equal ones:\n")
    print("| near copies | rows/s | range | recall | precision |\n|---|---|---|---|---|")
    by_turns(sides, ORIGINALS + COPIES + EQUAL, judge)


def rendering_table(folder: Path) -> None:
    draw = random.Random(1)
    words = words_of(draw, 3_000)
    path = folder / "chats.jsonl"
    asked = (" ".join(draw.choices(words, k=draw.randint(10, 40))) for _ in range(5_000))
    write(path, ({"prompt": text, "completion": " ".join(draw.choices(words, k=10))} for text in asked))
    print("\n| rendering, 5,000 chats | rows/s | range | |\n|---|---|---|---|")
    sides = {"etude": lambda: render_ours(path), "datasets.map + apply_chat_template": lambda: render_theirs(path)}
    by_turns(sides, 5_000, lambda _: "")


def million_table(folder: Path) -> None:
    draw = random.Random(2)
    words = words_of(draw)
    path = folder / "million.jsonl"
    previous = ""
    with path.open("w", encoding="utf-8") as file:
        for number in range(MILLION):
            is_copy = number % 10 == 9
            previous = edited(previous, draw, words) if is_copy else " ".join(draw.choices(words, k=12))
            file.write(json.dumps({"prompt": previous, "completion": "ok"}) + "\n")
    program = (
        "import resource, sys, time\nfrom etude.cli.main import main\n"
        f"code = main(['data', 'clean', {str(path)!r}, '-o', {str(folder / 'out.jsonl')!r}])\n"
        "print(code, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, seconds, peak = done.stdout.splitlines()[-1].split()
    wall = time.perf_counter() - started
    assert code == "0"
    print("\n| rows, a tenth of them near copies | processor s | wall s | peak RSS, GB |\n|---|---|---|---|")
    print(f"| {MILLION:,} | {float(seconds):.0f} | {wall:.0f} | {float(peak):.2f} |")


def main() -> None:
    """Prints the tables."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    with tempfile.TemporaryDirectory() as folder:
        copies_table(Path(folder))
        rendering_table(Path(folder))
        million_table(Path(folder))
