"""A profile as a table that a person reads: phases of an update, kinds of work, the costliest operators."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch._C._autograd import DeviceType

from etude.models.kernels import PROFILED
from etude.training.phases import MARK

BETWEEN = ("held-out look", "saving")
"""Phases between updates: told apart, part of no share."""
PHASES = ("packing", "forward", "backward", "gradients over ranks", "optimizer")
PRODUCTS = "matrix products"
KINDS = {
    "optimizer": r"adam|linalg_vector_norm|_foreach_|sums_of_squares",
    "attention": r"scaled_dot_product|flash|fmha|attention|attend|tree_softmax|rope_|rows_",
    PRODUCTS: r"^aten::(\w*mm_?|mv|dot|linear|matmul|einsum)$|kernel: product|gemm|gemv|cutlass|nvjet|xmma|cublas",
    "norms, activations, softmax": r"norm|softmax|silu|gelu|swiglu|sigmoid|tanh|rsqrt|logsumexp",
    "copies and layout": r"copy|(_|::)(to|t)$|cat|stack|index|gather|scatter|fill|zero|empty|clone|contiguous|slice|"
    r"view|split|transpose|stride|expand|select|narrow|pad|arange|resize|mem(cpy|set)|detach|alias|squeeze|item|"
    r"scalar|resolve",
}
"""The first kind whose pattern an operator's or kernel's name fits."""
OTHER = "other arithmetic"
MOST_OPERATORS = 15


@dataclass(slots=True)
class Work:
    """What an operator, a phase or a kind came to, over all recorded updates."""

    microseconds: float = 0.0
    calls: int = 0

    def add(self, microseconds: float) -> None:
        self.microseconds += microseconds
        self.calls += 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen of the recorded updates."""

    first: int
    last: int
    about: str
    """Model, technique, how it is computed and where."""
    seconds: float
    """From the end of the update before the first one to the end of the last."""
    plain_seconds: float | None
    """Of an update without the profiler."""
    rows: int
    tokens: int
    tokens_computed: int
    peak_bytes: float
    on_gpu: bool
    events: Sequence[Any] = field(repr=False)
    """torch's FunctionEvents."""


@dataclass(frozen=True)
class _Sums:
    """The events added up; updates alone, but for the phases between them."""

    milliseconds: float
    """Of an update."""
    phases: dict[str, Work]
    operators: dict[str, Work]
    kinds: dict[str, Work]


def written(measured: Measured) -> tuple[tuple[str, ...], str]:
    """The main lines, and the whole page."""
    sums = _added_up(measured)
    lines = _main_lines(measured, sums)
    return lines, _page(measured, sums, lines)


def _main_lines(measured: Measured, sums: _Sums) -> tuple[str, ...]:
    """How long an update takes and what share of it is the work that cannot be saved."""
    updates, seconds = _updates(measured), sums.milliseconds / 1e3
    plain = "" if measured.plain_seconds is None else f" ({1e3 * measured.plain_seconds:,.0f} ms without the profiler)"
    products = sums.kinds.get(PRODUCTS, Work())
    share = products.microseconds / updates / 1e3 / sums.milliseconds
    where = "of the GPU" if measured.on_gpu else "of the process"
    return (
        f"an update takes {sums.milliseconds:,.0f} ms{plain}: {measured.rows / updates / seconds:,.1f} rows/s, "
        f"{measured.tokens / updates / seconds:,.0f} tokens/s",
        f"{PRODUCTS} take {share:.0%} of it",
        f"{measured.tokens_computed / updates:,.0f} tokens computed an update, of {measured.tokens / updates:,.0f} in "
        f"its rows; peak memory {where} {measured.peak_bytes / 1e9:.2f} GB",
    )


def _page(measured: Measured, sums: _Sums, main_lines: Sequence[str]) -> str:
    updates = _updates(measured)
    waiting = "GPU waiting" if measured.on_gpu else "Python and dispatch"

    def lines(found: Iterable[tuple[str, Work]], rest: str | None) -> Iterator[str]:
        known = 0.0
        for name, work in found:
            milliseconds = work.microseconds / updates / 1e3
            known += milliseconds
            yield _line(name, milliseconds, sums.milliseconds, work.calls / updates)
        if rest is not None:
            yield _line(rest, max(0.0, sums.milliseconds - known), sums.milliseconds, None)

    named = [(name, sums.phases[name]) for name in PHASES if name in sums.phases]
    between = [(name, sums.phases[name]) for name in BETWEEN if name in sums.phases]
    top = _by_time(sums.operators)[:MOST_OPERATORS]
    return "\n".join(
        [
            f"Profile of updates {measured.first} to {measured.last}: {measured.about}",
            "",
            *main_lines,
            "",
            _head("phase of an update"),
            *lines(named, "the rest of the loop"),
            *(
                f"  beside updates: {name} {work.microseconds / 1e3:,.0f} ms in all, {work.calls} times"
                for name, work in between
            ),
            "",
            _head("kind of work"),
            *lines(_by_time(sums.kinds), waiting),
            "",
            _head("operator"),
            *lines(((f"{name}  [{_kind(name)}]", work) for name, work in top), None),
            "",
            "Shares are of one update. Times of kinds and operators are their own, without what they call.",
            *([] if measured.on_gpu else [f"What the profiler itself takes is in them, most of it in {waiting!r}."]),
            "",
        ]
    )


def _head(name: str) -> str:
    return f"{name:<64}{'ms':>10}{'share':>8}{'calls':>8}"


def _line(name: str, milliseconds: float, whole: float, calls: float | None) -> str:
    times = "" if calls is None else f"{calls:,.0f}"
    return f"  {name:<62.62}{milliseconds:>10,.1f}{milliseconds / whole:>8.1%}{times:>8}"


def _updates(measured: Measured) -> int:
    return measured.last - measured.first + 1


def _by_time(found: dict[str, Work]) -> list[tuple[str, Work]]:
    return sorted(found.items(), key=lambda pair: -pair[1].microseconds)


@cache
def _kind(name: str) -> str:
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), OTHER)


def _added_up(measured: Measured) -> _Sums:
    marks = {f"{MARK}{name}": name for name in (*PHASES, *BETWEEN)}
    phases: defaultdict[str, Work] = defaultdict(Work)
    pauses: list[tuple[float, float]] = []
    for event in measured.events:
        name = marks.get(event.name)
        if name is not None and event.device_type == DeviceType.CPU:
            phases[name].add(event.time_range.elapsed_us())
            if name in BETWEEN:
                pauses.append((event.time_range.start, event.time_range.end))
    operators: defaultdict[str, Work] = defaultdict(Work)
    kinds: defaultdict[str, Work] = defaultdict(Work)
    for event in measured.events:
        microseconds = _own_time(event, on_gpu=measured.on_gpu)
        if not microseconds or any(start <= event.time_range.start < end for start, end in pauses):
            continue
        for work in (operators[event.name], kinds[_kind(event.name)]):
            work.add(microseconds)
    beside = sum(phases[name].microseconds for name in BETWEEN if name in phases)
    milliseconds = (1e6 * measured.seconds - beside) / 1e3 / _updates(measured)
    return _Sums(milliseconds, dict(phases), dict(operators), dict(kinds))


def _own_time(event: Any, *, on_gpu: bool) -> float:
    """Microseconds that the device spent on this event alone; 0 for what is no computation."""
    if on_gpu:
        computes = event.device_type == DeviceType.CUDA and not event.is_user_annotation
        return float(event.self_device_time_total) if computes else 0.0
    computes = event.device_type == DeviceType.CPU and event.name.startswith(("aten::", PROFILED))
    return float(event.self_cpu_time_total) if computes else 0.0
