"""What the prepared rows of a run will take of memory and time, from the model's outline alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from etude.batch import Batch
from etude.config import RunFile
from etude.cycle.foresee_objective import answered, quiet_passes, with_objective
from etude.cycle.outlines import Begun, fresh, trainable_of
from etude.cycle.sources import source_of
from etude.data.batches import OfflineBatches
from etude.data.prepare import Prepared
from etude.errors import EtudeError
from etude.models.fused_attention import MOST_HEAD_SIZE
from etude.models.kernels import multiplies
from etude.models.layout import BLOCK, layout_of
from etude.models.load import own_device, precision_name
from etude.models.loaded import LoadedModel
from etude.models.machine import free_memory
from etude.models.options import Checkpointing, ModelOptions
from etude.models.recompute import MOST_KEPT_BYTES
from etude.models.source import cache_folder
from etude.planning.calibration import known_operations_per_second, remember
from etude.planning.memory import Memory, Survey, Work, memory_of
from etude.planning.shape import Shape, shape_of
from etude.planning.time import Amount, operations
from etude.runs.manifest import Cost
from etude.techniques.base import Technique
from etude.techniques.freeze import SAMPLES, Freeze
from etude.techniques.lora import LoRA
from etude.techniques.sparse import Sparse
from etude.training.loop import LOOKS_PER_RUN

STEPS_LOOKED_AT = 64
SURELY = 0.9
"""A run is refused where this share of its expected peak is over what there is: predictions err by up to a tenth."""
REMEDIES = {
    "weights": "technique.kind=qlora holds them in 4 bits",
    "optimizer": "technique.kind=lora learns fewer weights",
    "gradients": "technique.kind=lora learns fewer weights",
    "learned": "lower technique.rank",
    "best weights": "training.keep_best=false",
    "activations": "lower data.tokens_per_batch, or model.activation_checkpointing=always",
    "logits": "lower data.tokens_per_batch",
    "scores": "technique.choose=random looks at no gradients",
    "reference": "technique.kind=lora keeps the base to compare with",
    "key-value cache": "lower rollouts.batch_rows or rollouts.max_new_tokens",
    "spelled-out weights": "technique.kind=lora, which decoding reads as they are, holds them once",
}
"""What cuts each term of memory."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What the prepared rows ask of a pass, and of the whole run."""

    tokens: int
    sites: int
    context: float
    amount: Amount
    rows: int
    longest: int
    """Tokens of the longest row that was looked at."""
    tables: tuple[int, ...] = ()
    """Attention weights of one head in the deepest pass, of each group of siblings, where they are tables."""
    survey: Survey | None = None
    """The pass by which the technique chooses what learns."""


Kept = Callable[[int], float]
"""About how many bytes the layers keep for the backward pass, of so many tokens."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A run before it is loaded."""

    config: Any
    """The model's (transformers)."""
    shape: Shape
    work: Work
    memory: Memory
    operations: float
    room: float
    """Bytes that the machine has free."""

    def refuse(self) -> None:
        """
        Raises:
            EtudeError: even less than what is expected would not fit.
        """
        if SURELY * self.memory.peak <= self.room:
            return
        largest = self.memory.largest
        raise EtudeError(
            f"needs about {self.memory.peak / 1e9:.1f} GB of memory, and {self.room / 1e9:.1f} GB are free; most of it "
            f"({self.memory.terms[largest] / 1e9:.1f} GB) is {largest}",
            where="memory",
            remedy=f"{REMEDIES.get(largest, 'take a smaller model')} (`etude plan` shows every term and what fits; "
            "planning.check_memory=false trains all the same)",
        )

    def learn_speed(self, precision: str, seconds: float) -> None:
        """Takes a finished training as this machine's measurement, where there is none yet."""
        folder = cache_folder().parent
        if known_operations_per_second(folder, precision=precision) is None and seconds > 0:
            remember(folder, self.operations / seconds, precision=precision)

    def cost(self, precision: str) -> Cost:
        """As the manifest notes it; the seconds only where the speed of this machine is known."""
        speed = known_operations_per_second(cache_folder().parent, precision=precision)
        return Cost(self.memory.peak, None if speed is None else self.operations / speed)


def foresee(run_file: RunFile, prepared: Prepared) -> Foreseen:
    """The expected peak and the operations of a run on this machine.

    Raises:
        EtudeError: a technique or a model that cannot be planned.
    """
    begun = Begun({})
    model = fresh(begun.plain(run_file.model))
    shape = shape_of(model.module, name=model.name)
    kept = kept_by(shape, run_file.model.activation_checkpointing, precision_name(run_file.model.precision))
    rows = rows_of_run(run_file, prepared, kept)
    work = work_of(
        run_file.technique,
        shape,
        model,
        rows,
        precision_name(run_file.model.precision),
        run_file.model.activation_checkpointing,
        gpu=own_device().type == "cuda",
    )
    work = replace(work, keeps_best=keeps_best(run_file))
    work = with_objective(work, run_file, shape, begun, longest=rows.longest)
    memory = memory_of(shape, work)
    return Foreseen(model.module.config, shape, work, memory, operations(shape, work, rows.amount), free_memory())


def keeps_best(run_file: RunFile) -> bool:
    """Whether the best weights are held beside the newest."""
    return bool(run_file.data.holdout) and run_file.training.keep_best


def rows_of_run(run_file: RunFile, prepared: Prepared, kept: Kept) -> Rows:
    """Of all updates of a run, held-out looks included; answers that are not written yet count with their most tokens.

    Where a technique chooses by gradients, also the pass that it looks at.
    """
    training, rollouts = run_file.training, run_file.rollouts
    offline = source_of(run_file, prepared.samples)
    source, each, samples = offline, training.batch_rows, offline.num_samples
    if run_file.objective.online:  # a sample is a prompt with its group
        each = -(-training.batch_rows // rollouts.group)
        source = source_of(run_file, answered(run_file, prepared.samples, most=STEPS_LOOKED_AT * each))
    in_all = training.steps * each if training.steps else (training.epochs or 1.0) * samples
    looks = LOOKS_PER_RUN * len(prepared.heldout)
    found = rows_of(source, kept, batch_rows=each, seed=training.seed, in_all=in_all, looked_at=looks)
    amount = found.amount
    quiet = amount.reference_tokens + quiet_passes(run_file) * amount.tokens
    survey = survey_of(run_file.technique, offline, kept, seed=training.seed)
    return replace(found, amount=replace(amount, reference_tokens=quiet), rows=samples, survey=survey)


def rows_of(
    source: OfflineBatches, kept: Kept, *, batch_rows: int, seed: int, in_all: float, looked_at: float = 0.0
) -> Rows:
    """The pass of which most is kept among the first steps, and how much is computed in all."""
    steps = source.steps(
        batch_rows=batch_rows, seed=seed, first=0, total_samples=max(1, min(int(in_all), STEPS_LOOKED_AT * batch_rows)),
        share=lambda items: items,
    )  # fmt: skip
    batches = [batch for step in steps for batch in step.batches]
    deepest = max(batches, key=lambda batch: kept(len(batch.tokens_T)))
    seen = sum(len(batch.sample_ids) for batch in batches)
    computed, sites = (sum(len(getattr(b, name)) for b in batches) for name in ("tokens_T", "site_S"))
    context = sum(float(batch.position_T.double().sum()) for batch in batches) / computed + 1
    a_row = computed / seen
    amount = Amount(
        tokens=a_row * in_all, sites=sites / seen * in_all, context=context, reference_tokens=a_row * looked_at
    )
    longest = max(int(batch.position_T.max()) for batch in batches) + 1
    tables = _tables(deepest)
    return Rows(len(deepest.tokens_T), len(deepest.site_S), context, amount, source.num_samples, longest, tables)


def _tables(batch: Batch) -> tuple[int, ...]:
    above = [(one, 0 if one.ancestors_A is None else len(one.ancestors_A)) for one in layout_of(batch).groups]
    return tuple(one.num_segments * one.length * (one.length + ancestors) for one, ancestors in above)


def survey_of(technique: Technique, source: OfflineBatches, kept: Kept, *, seed: int) -> Survey | None:
    """The largest pass by whose gradients the technique chooses; None where it needs no gradients to choose by."""
    if isinstance(technique, Sparse) and technique.choose != "random":
        samples, sums = technique.samples, 4.0
    elif isinstance(technique, Freeze) and technique.choose == "gradient":
        samples, sums = SAMPLES, 0.0
    else:
        return None
    first = rows_of(source, kept, batch_rows=samples, seed=seed, in_all=min(samples, source.num_samples))
    return Survey(first.tokens, first.sites, sums)


def predicted_peak(technique: Technique, source: OfflineBatches, options: ModelOptions, *, batch_rows: int) -> float:
    """Bytes at the peak of training on these samples without held-out rows, on this machine."""
    model = fresh(options)
    shape = shape_of(model.module, name=options.name)
    precision, checkpointing = precision_name(options.precision), options.activation_checkpointing
    kept = kept_by(shape, checkpointing, precision)
    rows = rows_of(source, kept, batch_rows=batch_rows, seed=0, in_all=source.num_samples)
    rows = replace(rows, survey=survey_of(technique, source, kept, seed=0))
    work = work_of(technique, shape, model, rows, precision, checkpointing)
    return memory_of(shape, replace(work, keeps_best=False)).peak


def work_of(
    technique: Technique,
    shape: Shape,
    model: LoadedModel,
    rows: Rows,
    precision: str,
    checkpointing: Checkpointing,
    *,
    gpu: bool = False,
) -> Work:
    """What decides the memory of this technique on these rows."""
    trainable, in_place = trainable_of(technique, model)
    ranks = 0
    if isinstance(technique, LoRA):
        ranks = sum(technique.rank_of(name) for name in shape.linears) // shape.layers
    fused = model.way == "fused" and not gpu and _stays_fused(technique)
    return Work(
        where="gpu" if gpu else "cpu",
        bytes_a_number=2 if precision == "bfloat16" else 4,
        held=technique.base_held_as,
        trainable=trainable,
        in_place=in_place,
        ranks=ranks,
        tokens=rows.tokens,
        sites=rows.sites,
        tables=() if gpu or _attends_in_blocks(shape, fused, precision) else _of_all_heads(rows.tables, shape),
        recompute=_recomputes(shape, rows.tokens, checkpointing, precision),
        fused=fused,
        sparse=isinstance(technique, Sparse),
        survey=rows.survey,
    )


def kept_by(shape: Shape, setting: Checkpointing, precision: str) -> Kept:
    """The longest pass keeps the most, but where its activations are computed again: then a shorter one may."""
    size = 2 if precision == "bfloat16" else 4
    layer = (5 * shape.hidden + 2 * shape.inner) * size

    def kept(tokens: int) -> float:
        if _recomputes(shape, tokens, setting, precision):
            return float(tokens * (shape.layers * shape.hidden * size + layer))
        return float(tokens * shape.layers * layer)

    return kept


def _recomputes(shape: Shape, tokens: int, setting: Checkpointing, precision: str) -> bool:
    """As `models.recompute` decides on a CPU."""
    a_token = shape.layers * (5 * shape.hidden + 2 * shape.inner) * (2 if precision == "bfloat16" else 4)
    return setting == "always" or (setting == "auto" and tokens * a_token > MOST_KEPT_BYTES)


def _attends_in_blocks(shape: Shape, fused: bool, precision: str) -> bool:
    """Whether a CPU makes no tables of attention weights."""
    suits = shape.head_size % BLOCK == 0 and shape.head_size <= MOST_HEAD_SIZE
    return fused and precision == "bfloat16" and suits and multiplies()


def _of_all_heads(tables: tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    return tuple(shape.heads * one for one in tables)


def _stays_fused(technique: Technique) -> bool:
    """Whether the fused way knows what the technique attaches."""
    kind = getattr(technique, "kind", "")
    return kind not in ("adapter", "ia3", "peft") and not getattr(technique, "dora", False)
