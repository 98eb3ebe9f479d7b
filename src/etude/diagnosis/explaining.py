"""Explains a report: its failures by kind and likeness, the slices that are worse, and the training rows near them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from etude.data.audit.coverage import topic_words
from etude.data.audit.vectors import Embed
from etude.diagnosis import slices
from etude.diagnosis.explanation import Cluster, Explanation, Failure, Slice
from etude.diagnosis.mistakes import confusion_of, mistakes_of
from etude.diagnosis.nearest import Space, TrainingRow, space_of
from etude.diagnosis.options import ExplainOptions
from etude.diagnosis.slices import Candidate, Tested
from etude.diagnosis.suggesting import suggestion
from etude.errors import EtudeError, Problems
from etude.evaluation.report import ItemResult, Report
from etude.json_values import flatten, parse_object

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_ITEMS = 4
"""Of an evaluation below which nothing can be told apart."""
LABEL = "label"
MOST_CLUSTERS = 8
FAILURES_A_CLUSTER = 12
SHOWN = 6
SHOWN_LETTERS = 400
MOST_LETTERS_OF_A_VALUE = 60
WORST_SHARE = 0.25


@dataclass(frozen=True)
class Training:
    """What was learned from."""

    source: str
    reading: Mapping[str, Any]
    """`format` and `columns`, as the run reads its rows."""
    rows: Sequence[TrainingRow]
    """All, or an even sample."""
    number: int
    answers: Counter[str]
    """Of all rows, how many have each answer (of answers shorter than a line)."""


@dataclass(frozen=True)
class _Evidence:
    """Everything that the parts of an explanation are made from."""

    items: Sequence[ItemResult]
    columns: Sequence[Mapping[str, Any]]
    metric: str
    scores: Sequence[float]
    failed: Sequence[bool]
    space: Space
    training: Training | None
    labels: Sequence[str | None]
    common: int
    """Letters with which all questions begin, which are not shown."""


def explain(
    report: Report,
    *,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    training: Training | None = None,
    embed: Embed | None = None,
    options: ExplainOptions | None = None,
    path: str = "",
    sha256: str = "",
) -> Explanation:
    """Why a model fails where it does.

    `columns` are the task's rows by item id, `training` is what was learned from, `embed` turns texts into vectors in
    the place of weighed words; `path` and `sha256` say where the report lies.

    Raises:
        Problems: options out of range.
        EtudeError: a column that no row has, or too few items.
    """
    options = options or ExplainOptions()
    items = _scored_items(report, options, path)
    scores = [item.scores[report.metric] for item in items]
    failed, threshold = failures(scores, higher_is_better=report.higher_is_better)
    metric = str(report.settings.get("metric", report.metric))
    space = space_of([item.prompt for item in items], training.rows if training else (), embed, seed=options.seed)
    held = [dict((columns or {}).get(item.id, {})) for item in items]
    labels = [item.reference if _is_label(item, metric) else None for item in items]
    common = _common_start([item.prompt for item in items])
    evidence = _Evidence(items, held, metric, scores, failed, space, training, labels, common)
    groups = [item.group for item in items]
    tested = slices.compared_with_rest(
        _candidates(evidence, options), scores, groups=groups if any(groups) else None,
        higher_is_better=report.higher_is_better, alpha=options.false_alarms, seed=options.seed,
    )  # fmt: skip
    ends = report.intervals.get(report.metric)
    return Explanation(
        task=report.task,
        subject=report.subject,
        metric=report.metric,
        higher_is_better=report.higher_is_better,
        report=path,
        report_sha256=sha256,
        train=None if training is None else training.source,
        reading={} if training is None else dict(training.reading),
        num_training_rows=0 if training is None else training.number,
        items=len(items),
        unscored=len(report.items) - len(items),
        failed=sum(failed),
        threshold=threshold,
        score=report.score,
        interval=ends if ends is not None and all(map(math.isfinite, ends)) else None,
        mistakes=_mistakes(evidence, [at for at, wrong in enumerate(failed) if wrong]),
        slices=_slices(evidence, tested),
        clusters=_clusters(evidence, options.seed),
        false_alarms=options.false_alarms,
        notes=tuple(_notes(training, embed, report)),
    )


def _scored_items(report: Report, options: ExplainOptions, path: str) -> list[ItemResult]:
    if wrong := options.problems():
        raise Problems("explanation", [f"{name}: {what}" for name, what in wrong])
    items = [item for item in report.items if not math.isnan(item.scores[report.metric])]
    if len(items) < FEWEST_ITEMS:
        raise EtudeError(f"{len(items)} scored items explain nothing", where=path, remedy=f"use {FEWEST_ITEMS} or more")
    return items


def _common_start(texts: Sequence[str]) -> int:
    """Letters of whole words with which all texts begin: an instruction, say."""
    first, last = min(texts), max(texts)
    start = first[: next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
    while start and not start[-1].isspace():
        start = start[:-1]
    return len(start)


def failures(scores: Sequence[float], *, higher_is_better: bool) -> tuple[list[bool], str]:
    """Which items failed, and by what rule: all but the right ones, or the worst quarter of graded scores."""
    if higher_is_better and all(score in (0, 1) for score in scores):
        return [score < 1 for score in scores], "a score of 0"
    ranked = sorted(scores, reverse=not higher_is_better)
    bound = ranked[max(0, math.ceil(WORST_SHARE * len(ranked)) - 1)]
    failed = [score <= bound if higher_is_better else score >= bound for score in scores]
    return failed, f"the worst quarter: {'at most' if higher_is_better else 'at least'} {bound:.4g}"


def _is_label(item: ItemResult, metric: str) -> bool:
    """Whether the reference is a value that several items may share, and not a text of its own."""
    reference = item.reference
    if reference is None or metric in ("json", "json_schema", "spans", "instructions", "style"):
        return False
    return metric == "label" or (0 < len(reference) <= MOST_LETTERS_OF_A_VALUE and "\n" not in reference)


def _candidates(evidence: _Evidence, options: ExplainOptions) -> list[Candidate]:
    fewest, items = options.fewest, evidence.items
    found = slices.by_value(LABEL, evidence.labels, fewest=fewest)
    for name, values in _fields(items).items():
        found += slices.by_value(f"wanted.{name}", values, fewest=fewest)
    found += _columns(evidence, options)
    topics = evidence.space.clustered(range(len(items)), options.topics, seed=options.seed).topic_N
    words = topic_words([item.prompt for item in items], topics)
    named = [f"{number + 1} ({', '.join(words[number])})" for number in topics.tolist()]
    found += slices.by_value("topic", named, fewest=fewest)
    found += slices.by_size("length", [len(item.prompt.split()) for item in items], "words")
    wanted = [len((item.reference or "").split()) for item in items]
    if not any(label is not None for label in evidence.labels):
        found += slices.by_size("wanted length", wanted, "words")
    return found


def _fields(items: Sequence[ItemResult]) -> dict[str, list[str | None]]:
    """The values of the references' JSON fields; none where references are no objects."""
    parsed = [parse_object(item.reference or "") for item in items]
    if not all(value is not None for value in parsed):
        return {}
    found: dict[str, list[str | None]] = {}
    for place, value in enumerate(parsed):
        for path, leaf in flatten(value or {}).items():
            found.setdefault(".".join(path), [None] * len(items))[place] = _value(leaf)
    return found


def _columns(evidence: _Evidence, options: ExplainOptions) -> list[Candidate]:
    """Slices by the task rows' columns; the ones asked for, or all that are no texts."""
    known = list(dict.fromkeys(name for row in evidence.columns for name in row))
    if missing := [name for name in options.by if name not in known]:
        listed = ", ".join(known) or "none"
        raise EtudeError(f"no column {missing[0]!r}", where="--by", remedy=f"the task's rows have {listed}")
    found: list[Candidate] = []
    seen = {tuple(evidence.labels)}
    for name in options.by or known:
        values = tuple(_value(row.get(name)) for row in evidence.columns)
        if values not in seen:
            found += slices.by_value(name, values, fewest=options.fewest)
        seen.add(values)
    return found


def _value(value: object) -> str | None:
    if value is None or isinstance(value, float | list | dict):
        return None
    text = str(value)
    return text if 0 < len(text) <= MOST_LETTERS_OF_A_VALUE and "\n" not in text else None


def _slices(evidence: _Evidence, tested: Sequence[Tested]) -> tuple[Slice, ...]:
    twins = slices.overlaps(tested)
    with_answer = _rows_with(evidence)
    usual = median(len(rows) for rows in with_answer.values()) if with_answer else None
    usual_alike = _mean(evidence.space.closest(range(len(evidence.items)))) if evidence.training else None
    made = []
    for one in tested:
        found = _slice(evidence, one, twins.get(one.candidate.name))
        if one.is_worse or one.candidate.attribute == LABEL:
            found = _with_training(evidence, found, one.candidate, with_answer, usual)
        if one.is_worse:
            found = replace(found, suggestion=suggestion(found, usual_alike=usual_alike))
        made.append(found)
    return tuple(made)


def _slice(evidence: _Evidence, one: Tested, twin: str | None) -> Slice:
    places = one.candidate.items
    wrong = [place for place in places if evidence.failed[place]]
    outside = (sum(evidence.failed) - len(wrong)) / (len(evidence.items) - len(places))
    confusions = Counter(
        found for place in wrong if (found := confusion_of(evidence.items[place], evidence.metric)) is not None
    )
    return Slice(
        name=one.candidate.name,
        attribute=one.candidate.attribute,
        value=one.candidate.value,
        items=len(places),
        failed=len(wrong),
        mean=one.mean,
        interval=one.interval,
        rest=one.rest,
        difference=one.difference,
        difference_interval=one.difference_interval,
        p_value=one.p_value,
        is_worse=one.is_worse,
        excess=len(wrong) - outside * len(places),
        same_as=twin,
        mistakes=_mistakes(evidence, wrong),
        confusions=tuple(confusions.most_common(SHOWN)) if one.candidate.attribute == LABEL else (),
        failures=_failures(evidence, wrong) if one.is_worse else (),
        item_ids=tuple(evidence.items[place].id for place in places),
    )


def _rows_with(evidence: _Evidence) -> dict[str, list[int]]:
    """Of each label of the items, the places of the training rows whose answer it is."""
    labels = dict.fromkeys(label for label in evidence.labels if label is not None)
    if evidence.training is None or not labels:
        return {}
    found: dict[str, list[int]] = {label: [] for label in labels}
    by_form = {label.strip().casefold(): label for label in labels}
    for place, row in enumerate(evidence.training.rows):
        label = by_form.get(row.answer.strip().casefold())
        if label is not None:
            found[label].append(place)
    return found


def _with_training(
    evidence: _Evidence, found: Slice, candidate: Candidate, with_answer: Mapping[str, list[int]], usual: float | None
) -> Slice:
    """With the training rows that are like it."""
    if evidence.training is None:
        return found
    wrong = [place for place in candidate.items if evidence.failed[place]]
    alike = _mean(evidence.space.closest(wrong)) if wrong else None
    if candidate.attribute != LABEL:
        return replace(found, nearest=evidence.space.nearest(wrong), alike=alike)
    own = with_answer[candidate.value]
    near = evidence.space.nearest(candidate.items, own) or evidence.space.nearest(wrong)
    rows = sum(
        count for answer, count in evidence.training.answers.items() if answer == candidate.value.strip().casefold()
    )
    scale = evidence.training.number / max(1, len(evidence.training.rows))
    return replace(
        found, nearest=near, alike=alike, training_rows=rows, usual_rows=None if usual is None else usual * scale
    )


def _clusters(evidence: _Evidence, seed: int) -> tuple[Cluster, ...]:
    """The failures by likeness, and within it nothing but what they have in common."""
    import numpy as np

    wrong = [place for place, failed in enumerate(evidence.failed) if failed]
    if len(wrong) < 2:
        return ()
    number = max(1, min(MOST_CLUSTERS, len(wrong) // FAILURES_A_CLUSTER))
    found = evidence.space.clustered(wrong, number, seed=seed)
    words = topic_words([evidence.items[place].prompt for place in wrong], found.topic_N)
    made = []
    for at, named in enumerate(words):
        own: NDArray[np.intp] = np.flatnonzero(found.topic_N == at)
        ranked = [wrong[int(place)] for place in own[np.argsort(-found.likeness_N[own], kind="stable")]]
        near = evidence.space.nearest(ranked)[:SHOWN]
        made.append(Cluster(named, len(ranked), _mistakes(evidence, ranked), _failures(evidence, ranked), near))
    return tuple(made)


def _mistakes(evidence: _Evidence, places: Sequence[int]) -> tuple[tuple[str, int], ...]:
    counted = Counter(kind for place in places for kind in mistakes_of(evidence.items[place], evidence.metric))
    return tuple(counted.most_common(12))


def _failures(evidence: _Evidence, places: Sequence[int]) -> tuple[Failure, ...]:
    """The first ones that do not read the same."""
    found: dict[str, Failure] = {}
    for place in places:
        item = evidence.items[place]
        wanted, answered = item.reference or "", item.answer or ""
        texts = (item.prompt[evidence.common :][:SHOWN_LETTERS], wanted[:SHOWN_LETTERS], answered[:SHOWN_LETTERS])
        found.setdefault(item.prompt, Failure(item.id, *texts, mistakes_of(item, evidence.metric)))
        if len(found) == SHOWN:
            break
    return tuple(found.values())


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean())


def _notes(training: Training | None, embed: Embed | None, report: Report) -> list[str]:
    said = []
    if training is None:
        said.append("Training rows were not looked at: the subject is no run, or its data is no longer there.")
    elif len(training.rows) < training.number:
        said.append(
            f"Nearest rows were looked for among {len(training.rows):,} training rows, drawn evenly from "
            f"{training.number:,}."
        )
    if embed is None:
        said.append("Questions were compared by their words; an embedding model (--embedder) sees their meaning.")
    if any(item.group for item in report.items):
        said.append("Items come in groups that are not independent; slices were tested over groups.")
    return said
