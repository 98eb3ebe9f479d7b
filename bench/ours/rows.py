"""The token rows of a case, rendered once by Etude and written down, so that both sides learn from the same ones."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from bench.measured import read_job
from etude.batch import Sample, TokenRow
from etude.config import load_run_file
from etude.cycle.fine_tune import prepare_rows
from etude.cycle.show import Quiet
from etude.data.batches import epoch_order
from etude.data.prepare import prepare
from etude.data.read import read
from etude.data.render import Renderer
from etude.models.load import load
from etude.records import Origin, Preference, Prompt, Text
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach

MODEL = "smollm2-135m-instruct"
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data"))
GROUP = 8
"""Answers to one prompt of the group objective."""
ANSWER_TOKENS = 64
LEAST_TOKENS, MOST_TOKENS = 32, 256
"""Of a paragraph; shorter lines of wikitext are headings."""


def banking77(renderer: Renderer) -> Sequence[Sample]:
    """The training queries of examples/banking77.yaml; its template and instruction are common to all rows."""
    return prepare_rows(load_run_file(ROOT / "examples" / "banking77.yaml"), Quiet(), quarantine=None).samples


def wikitext2(renderer: Renderer) -> Sequence[Sample]:
    """Paragraphs of plain text, every token learned: nothing is shared and every position is scored."""
    path = DATA / "wikitext2" / "valid.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [
        renderer.row(Text(line.strip(), Origin(str(path), number)))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    kept = [row for row in rows if LEAST_TOKENS <= len(row.tokens) <= MOST_TOKENS]
    return [Sample(str(at), (TokenRow(row.tokens, row.weights),)) for at, row in enumerate(kept)]


def harmless(renderer: Renderer) -> Sequence[Sample]:
    """Preference pairs, (chosen, rejected) rows of one sample."""
    records = read(str(DATA / "hh_rlhf_harmless" / "pairs.jsonl"), (Preference,))
    return prepare(records, renderer, max_tokens=512, over_length="drop").samples


def prompts(renderer: Renderer) -> list[tuple[int, ...]]:
    """Instructions of self-instruct, ready to be answered."""
    records = read(str(DATA / "self_instruct" / "seed_tasks.jsonl"), (Prompt,))
    rendered = [renderer.prompt(record.messages) for record in records if isinstance(record, Prompt)]
    return [prompt for prompt in rendered if len(prompt) <= MOST_TOKENS]


def groups(renderer: Renderer, count: int) -> list[Sample]:
    """Groups of eight answers that the base model wrote; a row's weights are its advantage within the group."""
    asked = prompts(renderer)[:count]
    options = SampleOptions(max_new_tokens=ANSWER_TOKENS, temperature=1.0)
    answers = sample(load(MODEL), [prompt for prompt in asked for _ in range(GROUP)], options, end_ids=renderer.end_ids)
    shuffled = random.Random(0)
    found: list[Sample] = []
    for at, prompt in enumerate(asked):
        ranks = shuffled.sample(range(GROUP), GROUP)
        rows = [
            TokenRow((*prompt, *answer.tokens), (*[0.0] * len(prompt), *[advantage(rank)] * len(answer.tokens)))
            for rank, answer in zip(ranks, answers[at * GROUP : (at + 1) * GROUP], strict=True)
        ]
        found.append(Sample(str(at), tuple(rows)))
    return found


def advantage(rank: int) -> float:
    """Of rewards 0, 1, … 7 in a group: less their mean, over their standard deviation; never 0."""
    rewards = range(GROUP)
    mean = sum(rewards) / GROUP
    return (rank - mean) / (sum((reward - mean) ** 2 for reward in rewards) / (GROUP - 1)) ** 0.5


def long_row(renderer: Renderer, length: int, count: int) -> list[Sample]:
    """Rows of exactly `length` tokens of running text."""
    text = (DATA / "wikitext2" / "valid.txt").read_text(encoding="utf-8")
    tokens = renderer.plain.encode([text], prefix=False)[0]
    pieces = [tuple(tokens[start : start + length]) for start in range(0, len(tokens) - length, length)]
    return [
        Sample(str(at), (TokenRow(piece, (0.0, *[1.0] * (length - 1))),)) for at, piece in enumerate(pieces[:count])
    ]


SOURCES: dict[str, Callable[[Renderer], Sequence[Sample]]] = {
    "banking77": banking77,
    "wikitext2": wikitext2,
    "harmless": harmless,
}


def samples_for(source: str, renderer: Renderer, *, count: int, length: int | None) -> list[Sample]:
    """So many samples, shuffled as training would."""
    if source == "groups":
        return groups(renderer, count)
    if source == "long":
        assert length is not None
        return long_row(renderer, length, count)
    if source == "prompts":
        asked = prompts(renderer)
        return [
            Sample(str(at), (TokenRow(prompt, (0.0,) * len(prompt)),))
            for at, prompt in enumerate(asked[i % len(asked)] for i in range(count))
        ]
    found = SOURCES[source](renderer)
    return [found[at] for at in epoch_order(len(found), seed=0, epoch=0)[:count]]


def plain(numbers: Iterable[float]) -> list[float]:
    """Tuples and arrays alike, as JSON knows them."""
    return [one.item() if isinstance(one, np.generic) else one for one in numbers]


def main() -> None:
    """Writes rows, the model's folder and a fresh adapter, from which both sides start."""
    job = read_job()
    target = Path(job["rows"])
    model = load(MODEL)
    wanted = job["steps"] * job["samples_per_step"]
    samples = samples_for(job["source"], Renderer(model.tokenizer), count=wanted, length=job.get("length"))
    if len(samples) < wanted:
        raise SystemExit(f"{job['source']} has {len(samples)} samples, {wanted} were asked for: take fewer steps")
    adapter = target.with_suffix(".adapter")
    attach(LoRA(), model).save(adapter)
    target.write_text(
        json.dumps(
            {
                "model": str(model.folder),
                "adapter": str(adapter.resolve()),
                "samples_per_step": job["samples_per_step"],
                "samples": [[(plain(row.tokens), plain(row.weights)) for row in one.rows] for one in samples],
            }
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
