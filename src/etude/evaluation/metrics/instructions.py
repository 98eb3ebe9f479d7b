"""Whether answers follow instructions that a program can verify: IFEval (https://arxiv.org/abs/2311.07911)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from etude.evaluation.intervals import bootstrap_ratio
from etude.evaluation.metrics.base import Metric, Problem, Scored, Summary, means
from etude.evaluation.metrics.instruction_checks import CHECKS, follows, follows_loosely


@dataclass(frozen=True, kw_only=True)
class Instructions(Metric):
    """1 if an answer follows all instructions of its prompt, strictly; loosely and for each instruction beside it.

    Rows are IFEval's: `prompt`, `instruction_id_list` and `kwargs`, a list of arguments for each instruction.
    """

    reads: ClassVar[tuple[str, ...]] = ("instruction_id_list", "kwargs")
    primary: ClassVar[str] = "prompt_strict"

    def unusable(self, references: Sequence[str]) -> list[Problem]:
        return [(place, wrong) for place, one in enumerate(references) for wrong in _problems(json.loads(one))]

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `followed`, for each instruction [name, strictly, loosely]."""
        followed = [
            (name, follows(answer, name, given), follows_loosely(answer, name, given))
            for name, given in _asked(json.loads(reference))
        ]
        strict, loose = [one[1] for one in followed], [one[2] for one in followed]
        scores = {
            self.primary: float(all(strict)),
            "prompt_loose": float(all(loose)),
            "share_strict": sum(strict) / len(strict),
            "share_loose": sum(loose) / len(loose),
        }
        return Scored(scores, {"followed": followed})

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """`instruction_strict` and `instruction_loose` count every instruction once, whatever its prompt."""
        items = [one.details["followed"] for one in scored]
        scores, intervals = means(scored), {}
        for place, name in ((1, "instruction_strict"), (2, "instruction_loose")):
            right = [float(sum(one[place] for one in item)) for item in items]
            counts = [float(len(item)) for item in items]
            scores[name] = sum(right) / sum(counts)
            if len(items) > 1:
                intervals[name] = bootstrap_ratio(right, counts).interval(0.95)
        every = [one for item in items for one in item]
        rows = [
            {
                "instruction": name,
                "count": len(held := [one for one in every if one[0] == name]),
                "strict": sum(one[1] for one in held) / len(held),
                "loose": sum(one[2] for one in held) / len(held),
            }
            for name in sorted({one[0] for one in every})
        ]
        return Summary(scores, {"instructions": rows}, intervals)


def _asked(reference: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, given in zip(reference["instruction_id_list"], reference["kwargs"], strict=True):
        yield name, given or {}


def _problems(reference: Mapping[str, Any]) -> list[str]:
    names, given = reference["instruction_id_list"], reference["kwargs"]
    if not isinstance(names, list) or not names or not isinstance(given, list) or len(given) != len(names):
        return ["instruction_id_list and kwargs must be two lists of the same length"]
    found = []
    for name, arguments in _asked(reference):
        if name not in CHECKS:
            found.append(f"the instruction {name!r} is unknown; known: {', '.join(CHECKS)}")
        elif missing := [one for one in CHECKS[name][1] if arguments.get(one) is None]:
            found.append(f"the instruction {name!r} needs {', '.join(missing)}")
    return found
