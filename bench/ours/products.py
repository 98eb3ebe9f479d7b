"""Time in torch's matrix products over the same updates, profiled after the shapes have been compiled."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from bench.measured import Measured
from bench.ours.training import Updates

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def main() -> None:
    updates = Updates()
    updates.run()  # compiles every shape
    plain, _ = updates.run()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        profiled, _ = updates.run()
    products = sum(event.self_cpu_time_total for event in seen.key_averages() if event.key in PRODUCTS) / 1e6
    Measured(
        seconds=plain,
        rows=[1] * len(plain),
        tokens=[1] * len(plain),
        figures={
            "products_seconds": products / len(plain),
            "profiled_seconds": sum(profiled) / len(profiled),
            "plain_seconds": sum(plain) / len(plain),
        },
    ).print()


if __name__ == "__main__":
    main()
