"""How likely a model finds the texts of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from etude.batch import TokenRow
from etude.data.render import Renderer
from etude.evaluation.intervals import mean_interval
from etude.evaluation.items import item_id, read_rows, refuse, settings_of, shown, some, too_long
from etude.evaluation.report import ItemResult, Report
from etude.records import Conversation, Text

if TYPE_CHECKING:
    from etude.evaluation.tasks import Task
    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]
NATS = "nats_per_token"


def score_texts(name: str, model: LoadedModel, task: Task, *, on_progress: OnProgress | None) -> Report:
    """The report of a perplexity task."""
    from etude.models.scoring import score_rows

    records = read_rows(task, (Conversation, Text))
    texts = some([record for record in records.rows if isinstance(record, Conversation | Text)], task.limit)
    renderer = Renderer(model.tokenizer)
    rows = [TokenRow(tokens=row.tokens, weights=row.weights) for row in map(renderer.row, texts)]
    weights = [sum(row.weights[1:]) for row in rows]
    empty = [
        f"{text.origin}: nothing in it is learned" for text, weight in zip(texts, weights, strict=True) if not weight
    ]
    refuse(task, empty + too_long(model, texts, [row.tokens for row in rows], room=0))
    found = score_rows(model, rows, on_progress=on_progress)
    nats = [-_weighted_sum(row, logprobs.tolist()) for row, logprobs in zip(rows, found, strict=True)]
    refuse(
        task,
        [
            f"{text.origin}: scored {-total:g}"
            for text, total in zip(texts, nats, strict=True)
            if not math.isfinite(total)
        ],
    )
    items = tuple(
        ItemResult(
            id=item_id(text, task),
            prompt=text.text if isinstance(text, Text) else shown(text.messages),
            reference=None,
            answer=None,
            scores={NATS: total / weight},
            weight=weight,
            prompt_tokens=len(row.tokens),
            group=text.group,
        )
        for text, row, total, weight in zip(texts, rows, nats, weights, strict=True)
    )
    per_token = sum(nats) / sum(weights)
    low, high = mean_interval([item.scores[NATS] for item in items], weights, groups=[text.group for text in texts])
    return Report(
        task=task.name,
        metric=NATS,
        subject=name,
        model_hash=model.base_hash,
        items=items,
        summary={NATS: per_token, "perplexity": math.exp(per_token), "num_tokens": sum(weights)},
        data_sha256=records.sha256,
        higher_is_better=False,
        template_sha256=renderer.template_sha256,
        settings=settings_of(task),
        intervals={NATS: (low, high), "perplexity": (math.exp(low), math.exp(high))},
    )


def _weighted_sum(row: TokenRow, logprobs: Sequence[float]) -> float:
    """Log-probability of the row's learned tokens; `logprobs[i]` belongs to token i + 1."""
    return math.fsum(weight * value for weight, value in zip(row.weights[1:], logprobs, strict=True) if weight)
