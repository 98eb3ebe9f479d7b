"""The processes that train together: who this one is, and the few sums and checks that make them act as one.

The contract with the loop: every rank works on its `share` of a step, gradients are *summed* over ranks, and the loop
divides by the count summed over ranks. So the result equals one rank's, whatever the number of ranks.

The seam for sharded weights (FSDP2): a module wrapped in `fully_shard` with `set_gradient_divide_factor(1)` has summed
its gradients when backward returns, so `sum_gradients` leaves DTensors out and `agree` hashes local shards by rank. The
loop, `share`, `sum` and `any` stay as they are.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, overload

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from etude.errors import EtudeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch.nn import Parameter

Item = TypeVar("Item")

BUCKET_ELEMENTS = 1 << 24
"""Gradients travel in flat float32 buffers of about this many numbers (64 MiB)."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together. `Ranks()` is one process alone: every method then costs nothing."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @staticmethod
    def start(device: str | None = None, *, timeout_seconds: float = 600.0) -> Ranks:
        """Join the group that torchrun describes in the environment, or stand alone where it describes none.

        `device` None: this process's GPU where there is one, else the CPU; GPUs talk through NCCL, CPUs through gloo.
        On one machine everything listens on loopback only. Raises EtudeError when the environment is half set or the
        others cannot be reached within the time-out.
        """
        place = _Place.read(os.environ)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if where.type == "cuda" and where.index is None:
            where = torch.device("cuda", place.local_rank)
            torch.cuda.set_device(where)
        if place.world > 1:
            if place.is_one_machine:
                for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                    os.environ.setdefault(name, "lo0" if sys.platform == "darwin" else "lo")
            with _explained(place.rank):
                place.join("nccl" if where.type == "cuda" else "gloo", timedelta(seconds=timeout_seconds))
        return Ranks(rank=place.rank, world=place.world, device=where)

    def stop(self) -> None:
        """Leave the group; the last thing a rank does."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This rank's part of a step: contiguous, sizes differing by one at most, so that the parts in rank order are
        the step in its order. Empty for some ranks when there are fewer items than ranks."""
        start, stop = (len(items) * rank // self.world for rank in (self.rank, self.rank + 1))
        return items[start:stop]

    @overload
    def sum(self, value: int) -> int: ...
    @overload
    def sum(self, value: float) -> float: ...
    @overload
    def sum(self, value: Tensor) -> Tensor: ...
    def sum(self, value: float | Tensor) -> float | Tensor:
        """The sum over all ranks, of the same type and shape; half-precision tensors are summed in float32."""
        if self.world == 1:
            return value
        if isinstance(value, Tensor):
            is_half = value.dtype in (torch.float16, torch.bfloat16)
            total = value.detach().to(self.device, torch.float32 if is_half else value.dtype, copy=True).contiguous()
            return self._reduce(total).to(value.device, value.dtype)
        dtype = torch.int64 if isinstance(value, int) else torch.float64
        return type(value)(self._reduce(torch.tensor(value, dtype=dtype, device=self.device)).item())

    def sum_named(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over ranks by name, in the order of the names; a rank without a name (it had no samples) adds 0."""
        if self.world == 1:
            return {name: float(values[name]) for name in sorted(values)}
        names = sorted({name for one in self.gather_texts("\n".join(values)) for name in one.split("\n") if name})
        sums = self.sum(torch.tensor([float(values.get(name, 0.0)) for name in names], dtype=torch.float64))
        return dict(zip(names, sums.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank, so that all of them stop, or skip an update, together."""
        return flag if self.world == 1 else bool(self.sum(int(flag)))

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0)

    def sum_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Replace each `.grad` by its sum over ranks, computed in float32 in the order of the parameters.

        A parameter without gradient on some ranks counts as zero there; without one on all ranks it keeps None, so
        that an optimizer skips it as it would on one rank.
        """
        if self.world == 1:
            return
        candidates = list(parameters)
        present = torch.tensor([parameter.grad is not None for parameter in candidates], dtype=torch.int32)
        chosen = [candidates[index] for index in self.sum(present).nonzero().flatten().tolist()]
        for bucket in _buckets(chosen):
            self._sum_bucket(bucket)

    def broadcast_parameters(self, parameters: Iterable[Tensor]) -> None:
        """Give every rank the main rank's values, bit for bit."""
        if self.world == 1:
            return
        for parameter in parameters:
            content = parameter.detach().contiguous()
            with _explained(self.rank):
                dist.broadcast(content.reshape(-1).view(torch.uint8), src=0)
            parameter.detach().copy_(content)

    def agree(self, tensors: Mapping[str, Tensor], *, what: str) -> str:
        """The hash of the tensors, which must be the same on every rank. Raises EtudeError, on all ranks alike."""
        digest = digest_of(tensors)
        if self.world == 1:
            return digest
        found = [
            bytes(one.tolist()).hex()
            for one in self.gather(torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))
        ]
        odd = [str(rank) for rank, other in enumerate(found) if other != found[0]]
        if odd:
            raise EtudeError(
                f"the {what} of rank {', '.join(odd)} differ from rank 0's",
                remedy="resume from the last checkpoint; if it happens again, a rank computes wrongly",
            )
        return digest

    def gather(self, value: Tensor) -> list[Tensor]:
        """Every rank's tensor, in rank order, on all ranks, on the CPU; all must have the same shape and type."""
        if self.world == 1:
            return [value.detach().cpu()]
        sent = value.detach().to(self.device).contiguous()
        received = [torch.empty_like(sent) for _ in range(self.world)]
        with _explained(self.rank):
            dist.all_gather(received, sent)
        return [one.cpu() for one in received]

    def tell(self, text: str) -> str:
        """The main rank's text, on all ranks (what the others pass is ignored)."""
        if self.world == 1:
            return text
        content = text.encode("utf-8")
        length = self.sum(len(content) if self.is_main else 0)
        buffer = torch.tensor(list(content) if self.is_main else [0] * length, dtype=torch.uint8, device=self.device)
        if length:
            with _explained(self.rank):
                dist.broadcast(buffer, src=0)
        return bytes(buffer.tolist()).decode("utf-8")

    def gather_texts(self, text: str) -> list[str]:
        """Every rank's text, in rank order, on all ranks."""
        content = text.encode("utf-8")
        lengths = [int(one) for one in self.gather(torch.tensor(len(content)))]
        padded = torch.zeros(max(*lengths, 1), dtype=torch.uint8)
        padded[: len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        found = self.gather(padded)
        return [bytes(one[:length].tolist()).decode("utf-8") for one, length in zip(found, lengths, strict=True)]

    def _reduce(self, total: Tensor) -> Tensor:
        with _explained(self.rank):
            dist.all_reduce(total)
        return total

    def _sum_bucket(self, bucket: Sequence[Parameter]) -> None:
        flat = torch.cat(
            [
                (torch.zeros_like(one) if one.grad is None else one.grad).detach().reshape(-1).to(torch.float32)
                for one in bucket
            ]
        )
        parts = torch.split(self._reduce(flat), [one.numel() for one in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(part.view_as(parameter))


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of the tensors, in the order of their names."""
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        whole.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class _Place:
    """What torchrun says about this process."""

    rank: int
    world: int
    local_rank: int
    is_one_machine: bool
    address: str
    port: int
    agent_hosts_store: bool

    @staticmethod
    def read(environment: Mapping[str, str]) -> _Place:
        world = _number(environment, "WORLD_SIZE", 1)
        rank = _number(environment, "RANK", 0 if world == 1 else None)
        if not 0 <= rank < world:
            raise EtudeError(f"RANK={rank} does not fit WORLD_SIZE={world}", where="environment", remedy="use torchrun")
        address = environment.get("MASTER_ADDR", LOOPBACK[0])
        return _Place(
            rank=rank,
            world=world,
            local_rank=_number(environment, "LOCAL_RANK", rank),
            is_one_machine=_number(environment, "LOCAL_WORLD_SIZE", world if address in LOOPBACK else 0) == world,
            address=address,
            port=_number(environment, "MASTER_PORT", 0 if world == 1 else None),
            agent_hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )

    def join(self, backend: str, timeout: timedelta) -> None:
        # Its default arguments keep the group that exists when it is first imported (the optimizer does that): gloo's
        # threads would then outlive `stop` and now and then abort the process as it ends.
        import torch.distributed.nn.functional  # noqa: F401

        if self.agent_hosts_store or self.address not in LOOPBACK:
            dist.init_process_group(backend, timeout=timeout)
            return
        dist.init_process_group(
            backend, store=self._loopback_store(timeout), rank=self.rank, world_size=self.world, timeout=timeout
        )

    def _loopback_store(self, timeout: timedelta) -> TCPStore:
        """torch's store listens on all interfaces unless it is handed a socket."""
        if self.rank != 0:
            return TCPStore(LOOPBACK[0], self.port, self.world, False, timeout, wait_for_workers=False)
        try:
            listener = socket.create_server((LOOPBACK[0], self.port))
        except OSError as error:
            raise EtudeError(
                f"port {self.port} is taken: {error.strerror}", where="MASTER_PORT", remedy="choose another port"
            ) from error
        return TCPStore(
            LOOPBACK[0],
            self.port,
            self.world,
            True,
            timeout,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )


@contextmanager
def _explained(rank: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EtudeError(
            f"lost contact with the other ranks: {str(error).splitlines()[0]}",
            where=f"rank {rank}",
            remedy="look at the output of the rank that ended first, then resume the run",
        ) from error


def _number(environment: Mapping[str, str], name: str, default: int | None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        found = "is missing" if text is None else f"is no whole number: {text!r}"
        raise EtudeError(f"{name} {found}", where="environment", remedy="start several ranks with torchrun")
    return int(text)


def _buckets(parameters: Sequence[Parameter]) -> Iterator[list[Parameter]]:
    bucket: list[Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > BUCKET_ELEMENTS:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
