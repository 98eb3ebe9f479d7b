"""Which of two answers a model puts first, for every pair of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from etude.data.render import Renderer
from etude.evaluation.items import item_id, read_rows, refuse, settings_of, shown, some, too_long
from etude.evaluation.preferences import PREFERENCE, pair_summary, scored_pairs
from etude.evaluation.report import ItemResult, Report
from etude.records import Preference

if TYPE_CHECKING:
    from etude.evaluation.tasks import Task
    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]


def score_pairs(name: str, model: LoadedModel, task: Task, *, on_progress: OnProgress | None) -> Report:
    """The report of a preference task."""
    records = read_rows(task, Preference)
    pairs = some([record for record in records.rows if isinstance(record, Preference)], task.limit)
    renderer = Renderer(model.tokenizer)
    rendered = [renderer.rows(pair) for pair in pairs]
    refuse(task, too_long(model, pairs, [max((a.tokens, b.tokens), key=len) for a, b in rendered], room=0))
    scored = scored_pairs(model, [(a, b) for a, b in rendered], on_progress=on_progress)
    items = tuple(
        ItemResult(
            id=item_id(pair, task),
            prompt=shown(pair.prompt),
            reference=shown(pair.chosen),
            answer=shown(pair.rejected),
            scores=one.scores,
            details=one.details,
            weight=pair.weight,
            prompt_tokens=chosen.answer_start,
            group=pair.group,
        )
        for pair, (chosen, _), one in zip(pairs, rendered, scored, strict=True)
    )
    weights, groups = [pair.weight for pair in pairs], [pair.group for pair in pairs]
    summary = pair_summary(scored, weights, groups, has_rewards=model.value_head is not None)
    return Report(
        task=task.name,
        metric=PREFERENCE,
        subject=name,
        model_hash=model.base_hash,
        items=items,
        summary=summary.scores,
        data_sha256=records.sha256,
        template_sha256=renderer.template_sha256,
        settings=settings_of(task),
        intervals=summary.intervals,
        tables=summary.tables,
    )
