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

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from etude import durable, yaml_text
from etude.advice.arms import Arm
from etude.advice.curve import LearningCurve, learning_curve
from etude.advice.options import AdviseOptions
from etude.advice.recommend import Advice, best, recommend
from etude.comparison.judgement import Answer
from etude.comparison.verdict import compare
from etude.config import RunFile, load_run_file
from etude.cycle.advise_rows import AdviceRows, advice_rows
from etude.cycle.arms import Measuring, Plan
from etude.cycle.askers import Asker, LocalAsker, endpoint_asker
from etude.cycle.fine_tune import fine_tune
from etude.cycle.show import Show
from etude.cycle.subjects import open_subject
from etude.cycle.wording import Wording, question_of
from etude.data.audit.vectors import Embed
from etude.data.retrieval import Search, by_likeness, by_words
from etude.errors import ConfigError, Problems
from etude.evaluation.answers import usable_prompts
from etude.evaluation.items import limited
from etude.evaluation.metrics.base import Metric
from etude.evaluation.metrics.label import Label
from etude.evaluation.report import is_share
from etude.evaluation.tasks import load_task
from etude.models.loaded import Subject
from etude.runs.directory import RunDirectory, is_run

MOST_LABELS = 100
"""Labels that are named in a prompt."""
HOLDOUT = 0.05
DEFAULTS: dict[str, yaml_text.Plain] = {
    "technique": {"kind": "lora", "rank": 16, "alpha": 32},
    "training": {"epochs": 3, "learning_rate": 1e-3, "batch_rows": 16, "warmup_share": 0.05},
    "evaluation": {"base": False, "retention": [], "drift_rows": 0},
}
NOTES = (
    "Every arm was measured once, with one seed; intervals are over items.",
    "Time and cost of models on this machine are with many requests at once, their latency is of one alone.",
)


@dataclass
class _Work:
    """One piece of advice on its way."""

    measuring: Measuring
    rows: AdviceRows
    out: Path
    overrides: tuple[str, ...]
    embed: Embed | None
    labels: tuple[str, ...]
    """To be named in prompts."""
    searches: dict[str, Search] = field(default_factory=dict)
    opened: dict[str, Subject] = field(default_factory=dict)
    """The model in memory; one at a time."""

    @property
    def options(self) -> AdviseOptions:
        return self.measuring.options

    @property
    def show(self) -> Show:
        return self.measuring.show

    def search(self, kind: str, texts: Sequence[str]) -> Search:
        """`words` (BM25), `likeness` (words weighed) or `meaning` (an embedding model), made when first asked for."""
        if kind not in self.searches:
            embed = self.embed if kind == "meaning" else None
            self.searches[kind] = by_words(texts) if kind == "words" else by_likeness(texts, embed)
        return self.searches[kind]

    def run(self, model: str, size: int) -> RunDirectory:
        """Named after what it is made of too: other rows or settings are another run."""
        made_of = sha256(repr((self.rows.learned, self.overrides)).encode()).hexdigest()[:8]
        return RunDirectory(self.out / "runs" / f"{_slug(model)}-{size}-{made_of}")


def advise(
    path: str | Path,
    overrides: Sequence[str],
    options: AdviseOptions,
    *,
    out: Path | None,
    show: Show,
    embed: Embed | None = None,
) -> Advice:
    """Measures all arms, or takes those that were measured, and recommends one.

    Raises:
        EtudeError: what the user can mend, most of it before anything is measured.
    """
    if wrong := options.problems():
        raise Problems("advise", [f"{name}: {what}" for name, what in wrong])
    task = limited(load_task(path), options.items)
    if not isinstance(task.metric, Metric):
        raise ConfigError("advice needs a task whose answers are written", where=str(path))
    folder = out or Path(f"advice/{task.name}")
    durable.make_directory(folder / "arms", exist_ok=True)
    rows = advice_rows(task, options, folder, show)
    records, _, _, metric = usable_prompts(task)
    labels = metric.labels if isinstance(metric, Label) and len(metric.labels) <= MOST_LABELS else ()
    facts = (records.sha256, rows.sha256, task, options.seed, options.price_per_hour, options.price_per_row, overrides)
    conditions = sha256(repr((*facts, embed is not None)).encode()).hexdigest()
    measuring = Measuring(folder / "arms", task, options, conditions, show)
    work = _Work(measuring, rows, folder, tuple(overrides), embed, labels)
    _check_trainings(work)
    bases = _compare_bases(work)
    model = _best_base(options, bases)
    if model is not None:
        _measure_prompts(work, partial(_base, work, model), model)
        _measure_trainings(work, model)
    for file in options.endpoints:
        endpoint = endpoint_asker(file, folder / "answers", max_new_tokens=task.max_new_tokens, show=show)
        _measure_prompts(work, partial(_same, endpoint), endpoint.name)
    return _concluded(work, model, bases)


def _same(asker: Asker) -> Asker:
    return asker


def _base(work: _Work, model: str) -> Asker:
    """The base model, loaded when it is first asked."""
    return _local(work, model, model)


def _local(work: _Work, name: str, subject: str) -> Asker:
    if subject not in work.opened:
        work.opened.clear()
        work.show.say(f"loading {subject}")
        work.opened[subject] = open_subject(subject)
    options = work.options
    return LocalAsker(name, work.opened[subject], options.batch_rows, options.price_per_hour, work.show)


def _check_trainings(work: _Work) -> None:
    """A mistake in the settings of the trainings is said before the first arm is measured."""
    if work.rows.learn:
        for model in work.options.models:
            _run_file(work, model, work.rows.sizes(work.options.sizes)[0])


def _compare_bases(work: _Work) -> tuple[Arm, ...]:
    """Several base models: each as it is, and after the same training on the fewest rows."""
    if len(work.options.models) < 2:
        return ()
    found = []
    for model in work.options.models:
        found.append(_zero_shot(work, partial(_base, work, model), model))
        if work.rows.learn:
            found.append(_measure_training(work, model, work.rows.sizes(work.options.sizes)[0]))
    return tuple(found)


def _best_base(options: AdviseOptions, bases: Sequence[Arm]) -> str | None:
    """The model that goes on: the best after the short training, or as it is where nothing can be learned from."""
    if len(options.models) < 2:
        return options.models[0] if options.models else None
    chosen = best([arm for arm in bases if arm.is_tuned] or list(bases))
    assert chosen is not None, "several models were measured"
    return chosen.model


def _zero_shot(work: _Work, asker: Callable[[], Asker], model: str) -> Arm:
    title = f"{model}, prompt alone{', labels named' if work.labels else ''}"
    wording = Wording(labels=work.labels)
    plan = Plan(name=f"{_slug(model)}-zero-shot", title=title, way="prompt", model=model, wording=wording)
    return work.measuring.measure(plan, asker)


def _measure_prompts(work: _Work, asker: Callable[[], Asker], model: str) -> None:
    """All ways to prompt a model: alone, with examples, with what a search finds."""
    _zero_shot(work, asker, model)
    slug, held = _slug(model), work.rows.passages
    kinds = {"words": "BM25", **({"meaning": "embeddings"} if work.embed is not None else {})}
    if work.rows.learn:
        kind = "likeness" if work.embed is None else "meaning"
        wording = _with_chosen_number(work, asker, _examples(work, kind), f"{slug}-examples")
        title = f"{model}, {wording.number} examples like the question"
        work.measuring.measure(
            Plan(name=f"{slug}-examples", title=title, way="prompt", model=model, wording=wording), asker
        )
    for kind, named in kinds.items():
        if held:
            wording = _passages(work, kind)
        elif work.rows.learn and kind == "words":  # rows by embeddings are the examples above
            wording = _with_chosen_number(work, asker, _examples(work, kind), f"{slug}-retrieval")
        else:
            continue
        title = f"{model}, {wording.number} {'passages' if held else 'training rows'} by {named}"
        name = f"{slug}-retrieval-{named.lower()}"
        work.measuring.measure(Plan(name=name, title=title, way="retrieval", model=model, wording=wording), asker)


def _examples(work: _Work, kind: str) -> Wording:
    texts = [question_of(row.messages) for row in work.rows.learn]
    search = work.search(kind, texts)
    return Wording(work.labels, search, examples=work.rows.learn, number=work.options.examples[0])


def _passages(work: _Work, kind: str) -> Wording:
    held = work.rows.passages
    return Wording(work.labels, work.search(f"{kind}", held), passages=held, number=work.options.examples[0])


def _with_chosen_number(work: _Work, asker: Callable[[], Asker], wording: Wording, name: str) -> Wording:
    """With the number of examples that is best on rows set aside; of equal ones the fewest."""
    numbers, aside = work.options.examples, work.rows.aside
    if aside is None or len(numbers) == 1:
        return wording
    scores = []
    for number in numbers:
        tried = replace(wording, number=number)
        title = f"{name}, {number} on rows set aside"
        plan = Plan(name=f"aside-{name}-{number}", title=title, way="prompt", model="", wording=tried)
        scores.append((work.measuring.measure(plan, asker, aside=aside).quality, -number))
    return replace(wording, number=-max(scores)[1])


def _measure_trainings(work: _Work, model: str) -> None:
    """The learning curve, and its last model with retrieved rows or passages in the prompt."""
    if not work.rows.learn:
        return
    sizes, held = work.rows.sizes(work.options.sizes), work.rows.passages
    arms = [_measure_training(work, model, size) for size in sizes]
    wording = replace(_passages(work, "words") if held else _examples(work, "words"), labels=())
    last = arms[-1]
    plan = Plan(
        name=f"{last.name}-retrieval",
        title=f"{last.title}, {wording.number} {'passages' if held else 'training rows'} by BM25",
        way="tuned with retrieval",
        model=model,
        wording=wording,
        rows=last.rows,
        training_seconds=partial(_training_seconds, work, model, last.rows),
    )
    work.measuring.measure(plan, partial(_trained, work, model, last.rows))


def _measure_training(work: _Work, model: str, size: int) -> Arm:
    plan = Plan(
        name=f"{_slug(model)}-tuned-{size}",
        title=f"{model}, fine-tuned on {size:,} rows",
        way="tuned",
        model=model,
        wording=Wording(),
        rows=size,
        training_seconds=partial(_training_seconds, work, model, size),
    )
    return work.measuring.measure(plan, partial(_trained, work, model, size))


def _run_file(work: _Work, model: str, size: int) -> RunFile:
    """The training's settings: defaults, with the overrides applied."""
    train = work.rows.first(size, work.out)
    path, local = work.out / "base.yaml", Path(model).absolute()
    name = str(local) if local.exists() else model
    data: yaml_text.Plain = {"train": str(train.absolute()), "holdout": HOLDOUT}
    durable.write_text(path, yaml_text.dump({"model": name, "data": data, **DEFAULTS}))
    return replace(load_run_file(path, work.overrides), output=str(work.run(model, size).path))


def _trained(work: _Work, model: str, size: int) -> Asker:
    """The run, trained if it is not yet."""
    run = work.run(model, size)
    if not (is_run(run.path) and run.state == "finished"):
        work.opened.clear()
        work.show.say(f"{model}: learning from {size:,} rows")
        fine_tune(_run_file(work, model, size), command=("etude", "advise"), resume=is_run(run.path), show=work.show)
    return _local(work, model, str(run.path))


def _training_seconds(work: _Work, model: str, size: int) -> float:
    return float(work.run(model, size).manifest().timings.get("train", 0.0))


def _slug(name: str) -> str:
    """A model's name as part of a file's."""
    return "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name).strip("-.") or "model"


def _concluded(work: _Work, model: str | None, bases: tuple[Arm, ...]) -> Advice:
    measuring, options = work.measuring, work.options
    arms = tuple(sorted(measuring.arms.values(), key=lambda arm: -arm.quality))

    def verdict(one: Arm, other: Arm) -> Answer:
        return compare(measuring.report(one), measuring.report(other), smallest_gain=options.matters).answer

    curve = _curve(work, model)
    recommendation = recommend(arms, verdict, options.wishes, curve)
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
