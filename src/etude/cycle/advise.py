"""Prompt, retrieve or fine-tune? Every way is measured on the same items, and the measurements become a recommendation.

Everything lies in one folder; an arm that was measured under the same conditions is not measured again:

    base.yaml            settings of the trainings; overrides are applied to it
    arms/NAME.json       what was measured of an arm, with the hash of its conditions
    arms/NAME.jsonl      its report, item by item
    runs/                the trainings
    rows-N.jsonl         the rows that they learn from, each a beginning of the next
    aside.jsonl          rows on which the number of examples is chosen
    answers/             what endpoints answered
    advice.json .html    the advice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from etude import durable
from etude.advice.arms import Arm
from etude.advice.curve import LearningCurve, learning_curve
from etude.advice.options import AdviseOptions
from etude.advice.recommend import Advice, best, contenders, ranked, recommend
from etude.cycle.advise_rows import AdviceRows, advice_rows
from etude.cycle.answerers import Answerers, endpoint, slug
from etude.cycle.arms import Answerer, Measuring, Plan, ReportJudge
from etude.cycle.show import Show
from etude.cycle.subjects import subject_hash
from etude.cycle.wording import Wording, question_of
from etude.cycle.writing import embedder as embedder_of
from etude.data.audit.vectors import Embed
from etude.data.retrieval import Search, by_likeness, by_words, needs_bm25
from etude.errors import ConfigError, EtudeError, Problems
from etude.evaluation.answers import usable_prompts
from etude.evaluation.items import limited
from etude.evaluation.metrics.base import Metric
from etude.evaluation.metrics.label import Label
from etude.evaluation.report import is_share
from etude.evaluation.tasks import Task, load_task

MOST_LABELS = 100
"""Labels that are named in a prompt."""
OWN_FLAGS = {"model": "--models", "model.name": "--models", "data.train": "--train", "output": "--out"}
"""Settings of a run file that advice sets itself, and what is used in their place."""
NOTES = (
    "Every arm was measured once, with one seed; intervals are over items, and those of the table each arm's own.",
    "The interval between the best fine-tuned and the best prompted arm has a share of its error for every arm that "
    "could have been the best, so it is not misled by that choice.",
    "Time and cost of models on this machine are with many requests at once, their latency is of one alone.",
)


@dataclass
class _Work:
    """One piece of advice on its way."""

    measuring: Measuring
    rows: AdviceRows
    out: Path
    answerers: Answerers
    labels: tuple[str, ...]
    """To be named in prompts."""
    embedder: str | None
    searches: dict[tuple[str, str], Search] = field(default_factory=dict)

    @property
    def options(self) -> AdviseOptions:
        return self.measuring.options

    @cached_property
    def meaning(self) -> str:
        """Search by the embedding model, with its hash."""
        return f"meaning {subject_hash(str(self.embedder))}"

    @cached_property
    def _embed(self) -> Embed:
        """One for all indexes, so that it is loaded once."""
        return embedder_of(str(self.embedder), self.measuring.show.progress)

    def search(self, kind: str, among: str) -> Search:
        """`words` (BM25), `likeness` (words weighed) or `meaning` (an embedding model); its index is made when asked.

        `among` says what is searched: the questions of training `rows`, or `passages`.
        """

        def search(questions: Sequence[str], number: int) -> list[list[int]]:
            if (kind, among) not in self.searches:
                held = self.rows.passages if among == "passages" else self._questions()
                self.searches[kind, among] = self._index(kind, held)
            return self.searches[kind, among](questions, number)

        return search

    def _questions(self) -> list[str]:
        return [question_of(row.messages) for row in self.rows.learn]

    def _index(self, kind: str, texts: Sequence[str]) -> Search:
        if kind == "words":
            return by_words(texts)
        return by_likeness(texts, self._embed if kind == "meaning" else None)


def advise(
    path: str | Path,
    overrides: Sequence[str],
    options: AdviseOptions,
    *,
    out: Path | None,
    show: Show,
    embedder: str | None = None,
) -> Advice:
    """Measures all arms, or takes those that were measured, and recommends one; `embedder` names an embedding model.

    Raises:
        EtudeError: what the user can mend, most of it before anything is measured.
    """
    _refuse_settings(overrides, options)
    task = _task(path, options)
    folder = out or Path(f"advice/{task.name}")
    durable.make_directory(folder / "arms", exist_ok=True)
    rows = advice_rows(task, options, folder, show)
    _, _, _, metric = usable_prompts(task)
    labels = metric.labels if isinstance(metric, Label) and len(metric.labels) <= MOST_LABELS else ()
    measuring = Measuring(folder / "arms", task, options, show)
    work = _Work(measuring, rows, folder, Answerers(measuring, rows, folder, overrides), labels, embedder)
    _check(work)
    remote: list[Answerer] = []
    for file in options.endpoints:
        taken = [*options.models, *(who.name for who in remote)]
        remote.append(endpoint(file, measuring, folder / "answers", taken=taken))
    bases = _compare_bases(work)
    model = _best_base(options, bases)
    if model is not None:
        _measure_prompts(work, work.answerers.base(model))
        _measure_trainings(work, model)
    for who in remote:
        _measure_prompts(work, who)
    return _concluded(work, model, bases)


def _refuse_settings(overrides: Sequence[str], options: AdviseOptions) -> None:
    """Problems for options out of range, and for settings of trainings that advice sets itself."""
    wrong = [f"{name}: {what}" for name, what in options.problems()]
    for name in (override.partition("=")[0].strip() for override in overrides):
        if name in OWN_FLAGS:
            wrong.append(f"{name}: is set by advice; use {OWN_FLAGS[name]}")
    for setting, names in (("models", [slug(model) for model in options.models]), ("endpoints", options.endpoints)):
        wrong += [f"{setting}: {name} is named twice" for name in sorted(set(names)) if names.count(name) > 1]
    if wrong:
        raise Problems("advise", wrong)


def _task(path: str | Path, options: AdviseOptions) -> Task:
    task = limited(load_task(path), options.items)
    if not isinstance(task.metric, Metric):
        raise ConfigError("advice needs a task whose answers are written", where=str(path))
    return task


def _check(work: _Work) -> None:
    """What is wrong with trainings, models and libraries is said before the first arm is measured."""
    if work.rows.learn or work.rows.passages:
        needs_bm25()
    if work.embedder is not None:
        if not (work.rows.learn or work.rows.passages):
            raise EtudeError("nothing to search in", where="--embedder", remedy="give --train or --documents")
        assert work.meaning, "a model that is not there raises"
    for model in work.options.models:
        work.answerers.base(model)
        if work.rows.learn:
            work.answerers.training(model, work.rows.sizes(work.options.sizes)[0])


def _compare_bases(work: _Work) -> tuple[Arm, ...]:
    """Several base models: each as it is, and after the same training on the fewest rows."""
    if len(work.options.models) < 2:
        return ()
    found = []
    for model in work.options.models:
        found.append(_zero_shot(work, work.answerers.base(model)))
        if work.rows.learn:
            found.append(_measure_training(work, model, work.rows.sizes(work.options.sizes)[0]))
    return tuple(found)


def _best_base(options: AdviseOptions, bases: Sequence[Arm]) -> str | None:
    """The model that goes on: the best after the short training, or as it is where nothing can be learned from."""
    if len(options.models) < 2:
        return options.models[0] if options.models else None
    chosen = best(contenders(bases))
    assert chosen is not None, "several models were measured"
    return chosen.model


def _zero_shot(work: _Work, who: Answerer) -> Arm:
    title = f"{who.name}, prompt alone{', labels named' if work.labels else ''}"
    wording = Wording(labels=work.labels)
    plan = Plan(name=f"{slug(who.name)}-zero-shot", title=title, way="prompt", who=who, wording=wording)
    return work.measuring.measure(plan)


def _measure_prompts(work: _Work, who: Answerer) -> None:
    """All ways to prompt a model: alone, with examples, with what a search finds."""
    _zero_shot(work, who)
    name, held = slug(who.name), work.rows.passages
    kinds = {"words": "BM25", **({"meaning": "embeddings"} if work.embedder is not None else {})}
    if work.rows.learn:
        kind = "likeness" if work.embedder is None else "meaning"
        wording = _with_chosen_number(work, who, _examples(work, kind), f"{name}-examples")
        title = f"{who.name}, {_some(wording.number, 'example')} like the question"
        work.measuring.measure(Plan(name=f"{name}-examples", title=title, way="prompt", who=who, wording=wording))
    for kind, named in kinds.items():
        if held:
            wording = _passages(work, kind)
        elif work.rows.learn and kind == "words":  # rows by embeddings are the examples above
            wording = _with_chosen_number(work, who, _examples(work, kind), f"{name}-retrieval")
        else:
            continue
        title = f"{who.name}, {_some(wording.number, 'passage' if held else 'training row')} by {named}"
        plan = Plan(
            name=f"{name}-retrieval-{named.lower()}", title=title, way="retrieval", who=who, wording=wording
        )  # fmt: skip
        work.measuring.measure(plan)


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _examples(work: _Work, kind: str) -> Wording:
    return Wording(
        work.labels, work.search(kind, "rows"), examples=work.rows.learn, number=work.options.examples[0],
        found_by=work.meaning if kind == "meaning" else kind,
    )  # fmt: skip


def _passages(work: _Work, kind: str) -> Wording:
    return Wording(
        work.labels, work.search(kind, "passages"), passages=work.rows.passages, number=work.options.examples[0],
        found_by=work.meaning if kind == "meaning" else kind,
    )  # fmt: skip


def _with_chosen_number(work: _Work, who: Answerer, wording: Wording, name: str) -> Wording:
    """With the number of examples that is best on rows set aside; of equal ones the fewest."""
    numbers, aside = work.options.examples, work.rows.aside
    if aside is None or len(numbers) == 1:
        return wording
    scores = []
    for number in numbers:
        title = f"{name}, {number} on rows set aside"
        tried = replace(wording, number=number)
        plan = Plan(name=f"aside-{name}-{number}", title=title, way="prompt", who=who, wording=tried)
        scores.append((work.measuring.measure(plan, aside=aside).quality, -number))
    return replace(wording, number=-max(scores)[1])


def _measure_trainings(work: _Work, model: str) -> None:
    """The learning curve, and its last model with retrieved rows or passages in the prompt."""
    if not work.rows.learn:
        return
    held = work.rows.passages
    last = [_measure_training(work, model, size) for size in work.rows.sizes(work.options.sizes)][-1]
    wording = replace(_passages(work, "words") if held else _examples(work, "words"), labels=())
    plan = Plan(
        name=f"{last.name}-retrieval",
        title=f"{last.title}, {_some(wording.number, 'passage' if held else 'training row')} by BM25",
        way="tuned with retrieval",
        who=work.answerers.tuned(model, last.rows),
        wording=wording,
    )
    work.measuring.measure(plan)


def _measure_training(work: _Work, model: str, size: int) -> Arm:
    plan = Plan(
        name=f"{slug(model)}-tuned-{size}",
        title=f"{model}, fine-tuned on {size:,} rows",
        way="tuned",
        who=work.answerers.tuned(model, size),
        wording=Wording(),
    )
    return work.measuring.measure(plan)


def _concluded(work: _Work, model: str | None, bases: tuple[Arm, ...]) -> Advice:
    measuring, options = work.measuring, work.options
    arms, curve = tuple(ranked(list(measuring.arms.values()))), _curve(work, model)
    judge = ReportJudge(measuring, bases=max(1, len(options.models)))
    recommendation = recommend(arms, judge, options.wishes, curve, bases)
    advice = Advice(measuring.task.name, arms, bases, recommendation, curve, options.wishes, NOTES)
    durable.write_json(work.out / "advice.json", {"etude_advice": 1, **asdict(advice)})
    return advice


def _curve(work: _Work, model: str | None) -> LearningCurve | None:
    """Over the sizes that were learned from; sizes that are not there are predicted, and twice as many as there are."""
    own = [arm for arm in work.measuring.arms.values() if arm.way == "tuned" and arm.model == model]
    own.sort(key=lambda arm: arm.rows)
    if len(own) < 2 or not is_share(own[0].metric, higher_is_better=own[0].higher_is_better):
        return None
    largest = own[-1].rows
    ahead = sorted({2 * largest, *(size for size in work.options.sizes if size > largest)})
    scores = [[item.scores[arm.metric] for item in work.measuring.report(arm).items] for arm in own]
    return learning_curve([arm.rows for arm in own], scores, ahead, seed=work.options.seed)
