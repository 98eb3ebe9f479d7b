"""Which new wordings of BANKING77's training rows `etude data augment` drops, as it drops a model's.

Planted changes of meaning are queries of the test file that have another label: any other one, or the one that the
classifiers find most like the row's. Good wordings are typing mistakes, paraphrases by rule, and, as hard as it gets,
what other people wrote for the same label.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PARENTS = 1_500
FOLDER = Path(os.environ.get("ETUDE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "banking77"


def rows_of(name: str) -> list[Any]:
    """The rows of one of its files."""
    from etude.data.inputs import Reading, Row, open_inputs

    inputs = open_inputs([FOLDER / name], Reading(columns={"prompt": "{text}", "completion": "category"}))
    return [row for row in inputs.each("") if isinstance(row, Row)]


def wordings(same: Any) -> dict[str, Callable[[Any, random.Random], str]]:
    """Ways to a new wording of a row, by name."""
    from etude.data.augmentation.noise import noised
    from etude.data.augmentation.paraphrase import paraphrased

    queries: dict[str, list[str]] = {}
    for row in rows_of("test.csv"):
        queries.setdefault(row.columns["category"], []).append(row.columns["text"])
    [labels] = same.outcomes

    def likest(row: Any) -> str:
        scores = labels.checked.scores_NK[labels.places[row.origin]].copy()
        scores[labels.rows.names.index(row.columns["category"])] = -float("inf")
        return str(labels.rows.names[int(scores.argmax())])

    def other(row: Any, draw: random.Random) -> str:
        return draw.choice([name for name in labels.rows.names if name != row.columns["category"]])

    return {
        "planted: a query of any other label": lambda row, draw: draw.choice(queries[other(row, draw)]),
        "planted: a query of the likest label": lambda row, draw: draw.choice(queries[likest(row)]),
        "good: paraphrases by rule": lambda row, draw: paraphrased(row.columns["text"], draw),
        "good: 10 % of the words mistyped": lambda row, draw: noised(row.columns["text"], draw, strength=0.1),
        "good: 30 % of the words mistyped": lambda row, draw: noised(row.columns["text"], draw, strength=0.3),
        "good: another query of the same label": lambda row, draw: draw.choice(queries[row.columns["category"]]),
    }


def dropped(same: Any, parents: Sequence[Any], reword: Callable[[Any, random.Random], str]) -> float:
    """The share of the new wordings that go."""
    draw = random.Random(1)
    made = [(row.origin, row.changed({**row.columns, "text": reword(row, draw)})) for row in parents]
    return sum(verdict is not None for verdict in same.verdicts(made)) / len(made)


def main() -> None:
    """Prints the table."""
    from etude.data.augmentation.same_label import Learning

    given = rows_of("train.csv")
    begun = time.process_time()
    learning = Learning(seed=0)
    for row in given:
        learning.take(row)
    same = learning.finish(None)
    seconds, right = time.process_time() - begun, same.outcomes[0].checked.accuracy
    print(f"{len(given):,} rows, classifiers right in {right:.1%} of them, fitted in {seconds:.1f} s\n")
    parents = random.Random(0).sample(given, PARENTS)
    print(f"| {PARENTS:,} wordings | dropped |\n|---|---|")
    for kind, reword in wordings(same).items():
        print(f"| {kind} | {dropped(same, parents, reword):.1%} |", flush=True)


if __name__ == "__main__":
    main()
