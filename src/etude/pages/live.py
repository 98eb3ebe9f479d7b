"""How a task's score and some of its answers went while the model trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from etude.pages.answers import LONGEST_ANSWER, LONGEST_PROMPT, Mark, ShownText, mark_of, shown_text
from etude.pages.figures import Curve, score_curve
from etude.pages.run_files import LIVE, RunFiles
from etude.pages.svg import Draw, picture
from etude.pages.wording import interval, score, score_name

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class AnswerThen:
    """An answer, and the looks at which it was given."""

    when: str
    answer: ShownText
    mark: Mark


@dataclass(frozen=True)
class AnsweredOverTime:
    """One item, through all looks; equal answers at neighbouring looks stand once."""

    id: str
    prompt: ShownText
    reference: ShownText | None
    over_time: tuple[AnswerThen, ...]


@dataclass(frozen=True)
class LiveSection:
    """What the page shows of it."""

    about: str
    sentence: str
    wide: Markup
    narrow: Markup
    answers: tuple[AnsweredOverTime, ...]


def live_section(run: RunFiles) -> LiveSection | None:
    """None where no task was asked during training, or nobody has looked yet."""
    curves = [run.metrics.live.get(name, Curve((), ())) for name in LIVE]
    if not run.looks or not len(curves[0]):
        return None
    last = run.looks[-1]
    sentence = _in_words(run, last)
    draw = live_drawing(run)
    assert draw is not None
    return LiveSection(
        about=f"{last['task']}: {score_name(last['metric'])} on {last['items']:,} items",
        sentence=sentence,
        wide=picture(draw, name="live-wide", alt=f"Score over updates. {sentence}", width=1000, height=300),
        narrow=picture(draw, name="live-narrow", alt=f"Score over updates. {sentence}", width=380, height=300),
        answers=tuple(_over_time(run.looks, one["id"]) for one in last["answers"]),
    )


def live_drawing(run: RunFiles) -> Draw | None:
    """The score over updates."""
    curve, low, high = (run.metrics.live.get(name, Curve((), ())) for name in LIVE)
    if not run.looks or not len(curve):
        return None
    return score_curve(curve, low, high, _best(run), is_share=bool(run.looks[-1]["is_share"]))


def _best(run: RunFiles) -> int | None:
    """The update with the best score, of equal ones that with the lower loss; not what was before training."""
    scores, losses = _points(run.metrics.live[LIVE[0]]), _points(run.metrics.heldout)
    sign = 1 if run.looks[-1]["higher_is_better"] else -1
    learned = [step for step in scores if step > 0]
    return max(learned, key=lambda step: (sign * scores[step], -losses.get(step, 0.0)), default=None)


def _points(curve: Curve) -> dict[int, float]:
    return dict(zip(curve.steps, curve.values, strict=True))


def _in_words(run: RunFiles, last: Mapping[str, Any]) -> str:
    points, best = [_points(run.metrics.live[name]) for name in LIVE], _best(run)
    share = bool(last["is_share"])

    def shown(step: int) -> str:
        value, low, high = (one.get(step, float("nan")) for one in points)
        return f"{score(value, is_share=share)} ({interval(low, high, is_share=share)})"

    said = [f"Before training {shown(0)}."] if 0 in points[0] else []
    if best is None:
        return " ".join(said)
    looks = sum(step > 0 for step in points[0])
    said.append(f"The highest was {shown(best)} at update {best:,}, and the last {shown(max(points[0]))}.")
    if run.setting("training.keep_best") and run.setting("training.keep_best_by") == "score":
        said.append(
            f"The weights of the highest were kept. As the best of {looks} looks it is rather too good: "
            "what counts is the verdict, on other items."
        )
    return " ".join(said)


def _over_time(looks: Sequence[Mapping[str, Any]], name: str) -> AnsweredOverTime:
    found = [(look, one) for look in looks for one in look["answers"] if one["id"] == name]
    first = found[0][1]
    steps = [
        (list(same), answer) for answer, same in groupby(found, key=lambda pair: str(pair[1]["answer"] or ""))
    ]  # fmt: skip
    return AnsweredOverTime(
        id=name,
        prompt=shown_text(first["prompt"], LONGEST_PROMPT),
        reference=None if first["reference"] is None else shown_text(first["reference"], LONGEST_ANSWER),
        over_time=tuple(
            AnswerThen(
                when=_when([look["step"] for look, _ in same]),
                answer=shown_text(answer, LONGEST_ANSWER),
                mark=mark_of(float(same[-1][1]["score"]), has_full=bool(same[-1][0]["is_share"])),
            )
            for same, answer in steps
        ),
    )


def _when(steps: Sequence[int]) -> str:
    first = "before training" if steps[0] == 0 else f"update {steps[0]:,}"
    return first if len(steps) == 1 else f"{first} to {steps[-1]:,}"
