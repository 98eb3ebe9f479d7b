"""Time in matrix products and in attention over the same updates, profiled after the shapes have been compiled."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from bench.measured import Measured
from bench.ours.training import Updates
from etude.models.kernels import PROFILED
from etude.training import phases

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def main() -> None:
    updates = Updates()
    updates.run()  # compiles every shape
    plain, _ = updates.run()
    phases.record(True)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        profiled, _ = updates.run()
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    products = sum(time for name, time in spent.items() if name in PRODUCTS or name.startswith(f"{PROFILED}product"))
    attention = sum(time for name, time in spent.items() if name.startswith(f"{PROFILED}tree_attention"))
    Measured(
        seconds=plain,
        rows=[1] * len(plain),
        tokens=[1] * len(plain),
        figures={
            "products_seconds": products / len(plain),
            "attention_seconds": attention / len(plain),
            "profiled_seconds": sum(profiled) / len(profiled),
            "plain_seconds": sum(plain) / len(plain),
        },
    ).print()


if __name__ == "__main__":
    main()
