"""The losses of both sides over each other, as PNG: `python -m bench.curves build/bench/lora.json bench/plots`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main(results: Path, folder: Path) -> None:
    """Losses, and where they say little (a policy gradient's first update) the gradients' norms beside them."""
    record = json.loads(results.read_text(encoding="utf-8"))
    case, first = record["case"], record["pairs"][0]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, name, title in zip(axes, ("losses", "gradient_norms"), ("loss", "gradient norm"), strict=True):
        for side, label, style in (("peer", case["peer_name"], "-"), ("ours", "Etude", "--")):
            values = first[side][name]
            axis.plot(range(1, len(values) + 1), values, style, label=label)
        axis.set_xlabel("update")
        axis.set_title(title)
        axis.legend()
    figure.suptitle(case["says"])
    figure.savefig(folder / f"{case['name']}.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
