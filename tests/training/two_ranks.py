"""Runs as `python -m tests.training.two_ranks FOLDER`: two gloo ranks on loopback that write down what they saw.

Under torchrun each process is one rank; otherwise one process imports torch and forks the two.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from etude.errors import CheckpointError, EtudeError, RunError
from etude.training.checkpoint import TrainState, commit_together, find_together, restore
from etude.training.ranks import Ranks

ROWS = 7


def toy_step(ranks: Ranks, *, steps: int = 6) -> tuple[list[float], dict[str, torch.Tensor]]:
    """A weighted regression by the loop's contract: sums of losses, gradients summed, one division by the count."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(steps, ROWS, 5, generator=generator), torch.randn(steps, ROWS, 3, generator=generator)
    weights = torch.rand(steps, ROWS, generator=generator)
    torch.manual_seed(ranks.rank)  # the ranks begin apart: broadcast_parameters must mend that
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    if ranks.is_main:
        torch.manual_seed(1)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
    ranks.broadcast_parameters(model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    losses = []
    for step in range(steps):
        mine = list(ranks.share(range(ROWS)))
        count = ranks.sum(float(weights[step, mine].sum()))
        error = (model(inputs[step, mine]) - targets[step, mine]).square().sum(-1)
        total = (weights[step, mine] * error).sum()
        total.backward()
        ranks.sum_gradients(model.parameters())
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.div_(count)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(ranks.sum(float(total.detach())) / count)
    return losses, dict(model.state_dict())


def partly_missing_gradients(ranks: Ranks) -> list[list[float] | None]:
    """Gradients of: both ranks, rank 1 alone, none, both in bfloat16."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 2)), nn.Parameter(torch.zeros(3))]
    parameters.append(nn.Parameter(torch.zeros(2, dtype=torch.bfloat16)))
    parameters[0].grad = torch.tensor([1.0, 10.0]) * (ranks.rank + 1)
    if ranks.rank == 1:
        parameters[1].grad = torch.tensor([[5.0, 6.0]])
    parameters[3].grad = torch.tensor([1.0, 0.5], dtype=torch.bfloat16)
    ranks.sum_gradients(parameters)
    return [None if one.grad is None else one.grad.flatten().tolist() for one in parameters]


def disagreement(ranks: Ranks) -> str:
    try:
        ranks.agree({"a": torch.full((3,), float(ranks.rank))}, what="weights")
    except EtudeError as error:
        return str(error)
    return "agreed"


def together(ranks: Ranks, folder: Path) -> list[str | int | None]:
    """A commit, a search and two failures, on both ranks alike."""
    state = TrainState(3, {"weights/w": torch.ones(2)}, {"rank": ranks.rank})

    def save(fence: Callable[[], None] | None, weight: float) -> str:
        try:
            one = replace(state, tensors={**state.tensors, "weights/w": torch.full((2,), weight)})
            return commit_together(ranks, folder, one, run_id="r", fence=fence, keep=1, identity={}).name
        except EtudeError as error:
            return f"{type(error).__name__}: {error}"

    def lost() -> None:
        raise RunError("the lease is lost")

    seen: list[str | int | None] = [save(None, 1.0), save(lost, 1.0), save(None, float(ranks.rank))]
    found = find_together(ranks, folder, run_id="r", identity={})
    assert found is not None
    again = restore(found.path)
    seen += [found.path.name, again.facts["rank"]]
    try:
        find_together(ranks, folder, run_id="r", identity={"data": "changed"})
    except CheckpointError as error:
        seen.append(str(error).split(": ", 1)[1])
    seen.append(None if find_together(ranks, folder / "none", run_id="r", identity={}) is None else "something")
    return seen


def listening() -> list[str]:
    """Addresses on which this process takes connections."""
    found = psutil.Process().net_connections(kind="inet")
    return sorted({one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN})


def observe(folder: Path) -> None:
    ranks = Ranks.start("cpu", timeout_seconds=60)
    losses, weights = toy_step(ranks)
    seen: dict[str, Any] = {
        "rank": ranks.rank,
        "world": ranks.world,
        "is_main": ranks.is_main,
        "losses": losses,
        "digest": ranks.agree(weights, what="weights"),
        "weights": {name: tensor.tolist() for name, tensor in weights.items()},
        "share": list(ranks.share(range(ROWS))),
        "sum_int": ranks.sum(2**40 + ranks.rank),
        "sum_float": ranks.sum(0.1 + ranks.rank),
        "sum_tensor": ranks.sum(torch.tensor([[ranks.rank, 2]])).tolist(),
        "sum_half": ranks.sum(torch.tensor(1.5, dtype=torch.bfloat16)).item(),
        "sum_named": [
            ranks.sum_named({"loss": 0.5, f"only {ranks.rank}": 2.0}),
            ranks.sum_named({"late": 3.0} if ranks.rank == 1 else {}),
            ranks.sum_named({}),
        ],
        "texts": ranks.gather_texts("ä" * ranks.rank),
        "any": [ranks.any(False), ranks.any(ranks.rank == 1), ranks.any(True)],
        "gradients": partly_missing_gradients(ranks),
        "disagreement": disagreement(ranks),
        "gathered": [one.tolist() for one in ranks.gather(torch.tensor([ranks.rank, 7]))],
        "told": ranks.tell("Grüße" if ranks.is_main else "not me"),
        "told_nothing": ranks.tell(""),
        "together": together(ranks, folder / "checkpoints"),
        "listening": listening(),
    }
    ranks.barrier()
    ranks.stop()
    seen["threads_left"] = [one.read_text().strip() for one in Path("/proc/self/task").glob("*/comm")]
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(seen))


def die_alone(folder: Path) -> None:
    """Rank 1 ends without a word, perhaps while rank 0 still shakes hands; rank 0 must say so in one line."""
    try:
        ranks = Ranks.start("cpu", timeout_seconds=20)
        if ranks.rank == 1:
            os._exit(0)
        ranks.barrier()
    except EtudeError as error:
        (folder / "lost.txt").write_text(str(error))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def fork_two(work: Any, folder: Path) -> None:
    port = free_port()
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            work(folder)
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    if "RANK" in os.environ:
        observe(target)
    else:
        fork_two(observe, target)
        fork_two(die_alone, target)
