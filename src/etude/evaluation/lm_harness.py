"""Tasks of lm-evaluation-harness, asked through Etude's scoring and sampler; their results as reports like any other.

A task's YAML may name functions, and lm-evaluation-harness runs them: use task files that you trust.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.errors import EtudeError
from etude.evaluation.intervals import mean_interval
from etude.evaluation.report import ItemResult, Report

if TYPE_CHECKING:
    from etude.models.loaded import Subject

OnProgress = Callable[[int, int], None]
PIP = 'pip install "etude[harness]"'
NOT_SCORES = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
     "target_hash")
)  # fmt: skip
"""What a sample of the harness holds beside its scores."""
FEWSHOT_SEED = 1234
"""The harness's own."""
PER_UNIT = {
    "word_perplexity": "nats_per_word", "byte_perplexity": "nats_per_byte", "bits_per_byte": "nats_per_byte",
}  # fmt: skip
"""Scores that the harness keeps as (log-likelihood, count): what one item's come to."""


@dataclass(frozen=True, kw_only=True)
class HarnessOptions:
    """How the harness's tasks are asked."""

    tasks: tuple[str, ...]
    """Names of its tasks or groups."""
    folder: str | None = None
    """A folder with task files of your own, beside those that come with it."""
    shots: int | None = None
    """Examples before each item; None: as each task says."""
    chat: bool = False
    """Put prompts through the model's chat template."""
    limit: int | None = None
    """Only the first so many items of each task."""
    batch_rows: int = 32
    """Prompts decoded together."""

    def check(self) -> None:
        """EtudeError for what is out of range, and where the harness is not installed."""
        _imported()
        if not all(self.tasks):
            raise EtudeError("names no task between two commas", where="--harness")
        for name, value, low in (("--shots", self.shots, 0), ("--limit", self.limit, 1)):
            if value is not None and value < low:
                raise EtudeError(f"must be at least {low}, got {value}", where=name)


def harness_reports(
    subject: Subject, options: HarnessOptions, *, on_progress: OnProgress | None = None
) -> list[Report]:
    """A report for each task (of a group: for each of its tasks).

    Raises:
        EtudeError: lm-evaluation-harness is not installed, has no such task, or a task asks for what is not there.
    """
    lm_eval = _imported()
    from etude.evaluation.lm_harness_model import HarnessModel

    tasks = _loaded(options)
    with subject.use() as model:
        asked = HarnessModel(model, batch_rows=options.batch_rows, on_progress=on_progress)
        found = lm_eval.evaluate(
            asked,
            tasks,
            limit=options.limit,
            apply_chat_template=options.chat,
            fewshot_as_multiturn=options.chat,
            bootstrap_iters=0,
            log_samples=True,
        )
        assert found is not None, "only other ranks than the first get nothing"
        return [
            _report(subject.name, model.base_hash, task, found, options, lm_eval.__version__)
            for task in found["samples"]
        ]


def _imported() -> Any:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        import lm_eval
    except ImportError:
        raise EtudeError("--harness needs lm-evaluation-harness", remedy=PIP) from None
    return lm_eval


def _loaded(options: HarnessOptions) -> Any:
    """The tasks with their rows, and so many examples; a task that says 0 itself keeps to it, as in the harness."""
    loaded = _manager(options).load(list(options.tasks))
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if own is None or (options.shots is not None and own != 0):
            task.set_config(key="num_fewshot", value=options.shots or 0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return loaded


def _manager(options: HarnessOptions) -> Any:
    """What knows the tasks; the 14,000 that come with the harness are only read where they are asked for."""
    from lm_eval.tasks import TaskManager

    if options.folder is not None and not Path(options.folder).is_dir():
        raise EtudeError("no such folder", where=options.folder)
    if options.folder is not None:
        own = TaskManager(include_path=options.folder, include_defaults=False)
        if all(task in own.all_tasks for task in options.tasks):
            return own
    manager = TaskManager(include_path=options.folder)
    unknown = [task for task in options.tasks if task not in manager.all_tasks]
    if unknown:
        raise EtudeError(
            f"lm-evaluation-harness has no task {', '.join(map(repr, unknown))}",
            where="--harness", remedy="`lm-eval ls tasks` lists them; --harness-folder names a folder with your own",
        )  # fmt: skip
    return manager


def _report(
    subject: str, model_hash: str, task: str, found: Mapping[str, Any], options: HarnessOptions, version: str
) -> Report:
    samples: list[Mapping[str, Any]] = found["samples"][task]
    filters = list(dict.fromkeys(str(one.get("filter", "none")) for one in samples))
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for one in samples:
        by_document.setdefault(int(one["doc_id"]), []).append(one)
    items = tuple(_item(task, number, by_document[number], filters) for number in sorted(by_document))
    if not items or not items[0].scores:
        raise EtudeError("gives its items no scores of their own, so there is nothing to pair", where=f"task {task}")
    metric = next(iter(items[0].scores))
    directions = found.get("higher_is_better", {}).get(task, {})
    higher = metric not in PER_UNIT.values() and bool(directions.get(metric, True))
    weights = [item.weight for item in items]
    uneven = None if all(weight == 1 for weight in weights) else weights
    documents = [one["doc_hash"] for number in sorted(by_document) for one in by_document[number][:1]]
    return Report(
        task=task,
        metric=metric,
        subject=subject,
        model_hash=model_hash,
        items=items,
        summary={**_means(items), **_harness_scores(found["results"].get(task, {}), items[0].scores)},
        data_sha256=hashlib.sha256("\n".join(documents).encode()).hexdigest(),
        higher_is_better=higher,
        settings=_settings(task, found, options, version),
        intervals={name: mean_interval([item.scores[name] for item in items], uneven) for name in items[0].scores},
    )


def _settings(task: str, found: Mapping[str, Any], options: HarnessOptions, version: str) -> dict[str, Any]:
    """Reports compare only where these are the same; the task's own file counts by its content."""
    config = json.dumps(found["configs"].get(task, {}), sort_keys=True, default=repr)
    return {
        "harness": version,
        "version": found["versions"].get(task),
        "shots": found["n-shot"].get(task),
        "chat": options.chat,
        "limit": options.limit,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
    }


def _item(task: str, number: int, samples: Sequence[Mapping[str, Any]], filters: Sequence[str]) -> ItemResult:
    """One document; a score of another filter than the first carries its name."""
    first = samples[0]
    found = [
        (name if which == filters[0] else f"{name} ({which})", value, counts)
        for one in samples
        for which in (str(one.get("filter", "none")),)
        for name, value, counts in _scores(one)
    ]
    requests = _requests(first["arguments"])
    return ItemResult(
        id=f"{task}:{number}",
        prompt=str(requests[0][0]) if requests else "",
        reference=str(first["target"]),
        answer=_answer(first, requests),
        scores={name: value for name, value, _ in found},
        weight=found[0][2] if found else 1.0,
    )


def _scores(sample: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(name, score, what it counts) of what can be paired item by item."""
    for name, value in sample.items():
        if name in NOT_SCORES or value is None:
            continue
        if isinstance(value, bool | int | float):
            yield name, float(value), 1.0
        elif name in PER_UNIT and isinstance(value, list | tuple) and len(value) == 2:
            nats, count = float(value[0]), float(value[1])
            yield PER_UNIT[name], -nats / count, count


def _requests(arguments: Any) -> list[tuple[Any, ...]]:
    """What was asked for one document: (context, continuation) or (context, settings), as the harness logs them."""
    held = arguments.values() if isinstance(arguments, Mapping) else arguments
    return [tuple(one.values()) if isinstance(one, Mapping) else tuple(one) for one in held]


def _answer(sample: Mapping[str, Any], requests: Sequence[tuple[Any, ...]]) -> str | None:
    """What was written, or the likeliest of several continuations."""
    given = sample["filtered_resps"]
    if not given:
        return None
    if isinstance(given[0], str):
        return given[0]
    if len(requests) > 1 and len(given) == len(requests) and isinstance(given[0], list | tuple):
        best = max(range(len(given)), key=lambda place: float(given[place][0]))
        return str(requests[best][1])
    return None


def _means(items: Sequence[ItemResult]) -> dict[str, float]:
    weights = [item.weight for item in items]
    return {
        name: math.fsum(item.scores[name] * item.weight for item in items) / math.fsum(weights)
        for name in items[0].scores
    }


def _harness_scores(results: Mapping[str, Any], known: Mapping[str, float]) -> dict[str, float]:
    """Numbers that the harness makes of all items together, such as an F1 or a perplexity."""
    found = {}
    for key, value in results.items():
        name = key.partition(",")[0]
        if isinstance(value, int | float) and not name.endswith("_stderr") and name not in known and "," in key:
            found[name] = float(value)
    return found
