"""Runs as `python -m tests.faults.trainer`: imports torch once, then forks a fresh training process for each job.

A job is a JSON line on stdin, its answer a JSON line on stdout: the exit codes of its ranks (-9: killed by SIGKILL).
A job trains a toy model to the end, or until the fault it was armed with, and writes what it came to into the run's
folder: `result.<rank>.json`. Its words go to `words.<rank>.txt`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from etude import durable
from etude.batch import Sample, TokenRow
from etude.data.batches import OfflineBatches
from etude.errors import EtudeError
from etude.evaluation.answers import Question
from etude.evaluation.live import LiveTask
from etude.evaluation.metrics.base import Metric, Scored
from etude.evaluation.tasks import Task
from etude.objectives.sft import SFT
from etude.runs import lease
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.training.loop import train
from etude.training.options import TrainOptions
from etude.training.ranks import Ranks, digest_of
from etude.training.saving import Place
from tests.toy import toy_loaded

RUN_ID = "toy"
NUM_STEPS = 11
"""2.4 epochs of 17 samples by 4: epochs end inside steps, and the last step has a single sample."""


@dataclass(frozen=True)
class Job:
    folder: str
    fault: str = ""
    fault_on: int | None = None
    """The only rank with the fault; all of them when left out."""
    resume: bool = False
    world: int = 1
    dropout: float = 0.1
    data: str = "da7a"
    """Hash of the data as the run sees it."""


def samples(count: int, seed: int) -> tuple[Sample, ...]:
    """Rows of different lengths; half of them share a prefix."""
    draw = random.Random(seed)
    prefix = [draw.randrange(3, 300) for _ in range(12)]
    found = []
    for number in range(count):
        tokens = prefix * (number % 2) + [draw.randrange(3, 300) for _ in range(draw.randrange(6, 20))]
        weights = [0.0] * (len(tokens) // 2) + [1.0] * (len(tokens) - len(tokens) // 2)
        found.append(Sample(f"toy.jsonl:{number}", (TokenRow(tuple(tokens), tuple(weights)),)))
    return tuple(found)


class Overlap(Metric):
    """Share of the reference's letters that stand in the answer: it differs between looks where models know nothing."""

    primary = "overlap"

    def score(self, answer: str, reference: str) -> Scored:
        return Scored({"overlap": len(set(answer) & set(reference)) / len(set(reference))})

    def settings(self) -> dict[str, object]:
        return {}


def live() -> LiveTask:
    """Two items that every look asks."""
    questions = [Question(f"toy.jsonl:{number}", "what?", (4 + number, 5, 6), "$lazy") for number in range(2)]
    task = Task(name="live", data="toy.jsonl", metric=Overlap(), max_new_tokens=6)
    return LiveTask(task, items=2, batch_rows=2, metric=task.metric, questions=questions)


def learn(job: Job) -> None:
    """One process's training, from the lease to the result."""
    folder = Path(job.folder)
    durable.make_directory(folder, exist_ok=True)
    ranks = Ranks.start("cpu", timeout_seconds=60)
    with ExitStack() as stack:
        held = stack.enter_context(lease.held(folder)) if ranks.is_main else None
        policy = attach(LoRA(rank=4, dropout=job.dropout), toy_loaded(), seed=1)
        trained = train(
            policy,
            OfflineBatches(samples=samples(17, seed=0), tokens=48),
            SFT(),
            options=TrainOptions(
                epochs=2.4,
                batch_rows=4,
                learning_rate=1e-2,
                seed=3,
                save_every=2,
                heldout_every=3,
                keep_checkpoints=2,
                keep_best_by="score",
            ),
            heldout=OfflineBatches(samples=samples(3, seed=1)),
            scorer=live(),
            place=Place(
                folder=folder,
                run_id=RUN_ID,
                identity={"data": job.data},
                fence=held.check if held is not None else None,
                resume=job.resume,
                resume_with="etude train --resume",
            ),
            ranks=ranks,
        )
        tensors = {name: parameter.detach() for name, parameter in policy.trainable.items()}
        result = {"weights": digest_of(tensors), "steps": trained.steps, "best_step": trained.best_step}
        result["best_score"] = trained.heldout_score
        result["most_tokens"] = trained.most_tokens
        (folder / f"result.{ranks.rank}.json").write_text(json.dumps(result))
    ranks.stop()


def run_rank(job: Job, rank: int, port: int) -> int:
    """In the forked child: what the command line would do with it."""
    os.environ["ETUDE_FAULT"] = job.fault if job.fault_on in (None, rank) else ""
    if job.world > 1:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(job.world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    words = os.open(f"{job.folder}/words.{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(words, 1)
    os.dup2(words, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        learn(job)
    except EtudeError as error:
        print(error, flush=True)
        return error.exit_code
    return 0


def start(job: Job) -> list[int]:
    """Fork the ranks of a job; their process ids."""
    Path(job.folder).mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    children = []
    for rank in range(job.world):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run_rank(job, rank, port)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return children


def main() -> None:
    torch.set_num_threads(1)
    toy_loaded()  # the slow imports, once; no backward pass here: its threads would not survive the fork
    for line in sys.stdin:
        children = start(Job(**json.loads(line)))
        print(json.dumps(children), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
