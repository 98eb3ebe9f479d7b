"""The published table of a finished run of examples/banking77.yaml, read from its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from etude.comparison.verdict import load_verdicts
from etude.evaluation.report import Report
from etude.runs.directory import open_run


def main() -> None:
    """Prints base and tuned accuracy with intervals, macro-F1, the verdict and the time of each phase."""
    run = open_run(Path(os.environ.get("ETUDE_RUN", "runs/banking77")))
    print("| model | accuracy | 95 % interval | macro-F1 | n |\n|---|---|---|---|---|")
    for name, base in (("base", True), ("tuned", False)):
        report = Report.load(run.report("banking77", base=base))
        low, high = report.intervals[report.metric]
        print(
            f"| {name} | {report.summary[report.metric]:.2%} | {low:.2%} to {high:.2%} "
            f"| {report.summary['macro_f1']:.3f} | {len(report.items)} |"
        )
    verdicts, gap = load_verdicts(run.verdict_file)
    print(f"\n{verdicts[0].sentence()}")
    if gap is not None:
        print(gap.sentence())
    print(f"\nSeconds by phase: {json.dumps(dict(run.manifest().timings))}")
