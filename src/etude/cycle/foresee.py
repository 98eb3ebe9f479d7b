"""What the prepared rows of a run will take of memory and time, from the model's outline alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from etude.batch import Batch
from etude.config import RunFile
from etude.cycle.foresee_objective import answered, quiet_passes, with_objective
from etude.cycle.online import HELDOUT_PROMPTS
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
TELLING = 1e11
"""Operations of an update beside which what Python does is little."""
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
    steps: int = 1
    """Updates of the whole run."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the layers keep of a pass for its backward pass on a CPU, as `models.recompute` decides."""

    shape: Shape
    setting: Checkpointing
    precision: str

    def of(self, tokens: int) -> float:
        """Bytes; more for the longest pass, but where its activations are computed again: then a shorter one may."""
        if self.recomputes(tokens):
            return tokens * (self.shape.layers * self.shape.hidden * self._size + self._layer)
        return tokens * self.shape.layers * self._layer

    def recomputes(self, tokens: int) -> bool:
        """Whether so many tokens are computed again."""
        return self.setting == "always" or (self.setting == "auto" and tokens > self.most_kept)

    @property
    def most_kept(self) -> int:
        """Tokens up to which `auto` keeps everything."""
        return int(MOST_KEPT_BYTES // (self.shape.layers * self._layer))

    @property
    def _layer(self) -> float:
        return (5 * self.shape.hidden + 2 * self.shape.inner) * self._size

    @property
    def _size(self) -> float:
        return 2.0 if self.precision == "bfloat16" else 4.0


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
    tells_speed: bool
    """Whether its updates are mostly arithmetic, and all of it is counted here: no answers are written."""

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
        """Takes a finished training as this machine's measurement, where there is none yet and it tells something."""
        folder = cache_folder().parent
        if self.tells_speed and known_operations_per_second(folder, precision=precision) is None and seconds > 0:
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
    kept = Kept(shape, run_file.model.activation_checkpointing, precision_name(run_file.model.precision))
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
    in_all = operations(shape, work, rows.amount)
    tells_speed = not run_file.objective.online and in_all > TELLING * rows.steps
    return Foreseen(model.module.config, shape, work, memory_of(shape, work), in_all, free_memory(), tells_speed)


def keeps_best(run_file: RunFile) -> bool:
    """Whether the best weights are held beside the newest."""
    return bool(run_file.data.holdout) and run_file.training.keep_best


def rows_of_run(run_file: RunFile, prepared: Prepared, kept: Kept) -> Rows:
    """Of all updates of a run, held-out looks included; answers that are not written yet count with their most tokens.

    Where a technique chooses by gradients, also the pass that it looks at.
    """
    training, offline = run_file.training, source_of(run_file, prepared.samples)
    if run_file.objective.online:
        found = _rows_with_answers(run_file, prepared, kept, offline.num_samples)
    else:
        found = _rows(run_file, prepared, kept, offline, offline.num_samples)
    amount = found.amount
    quiet = amount.reference_tokens + quiet_passes(run_file) * amount.tokens
    survey = survey_of(run_file.technique, offline, kept, seed=training.seed)
    return replace(found, amount=replace(amount, reference_tokens=quiet), survey=survey)


def _rows_with_answers(run_file: RunFile, prepared: Prepared, kept: Kept, num_samples: int) -> Rows:
    """Each sample is a prompt with its group. The pass is that of the length of answers at which most is kept."""
    rollouts = run_file.rollouts
    each = _samples_each(run_file)

    def found(length: int) -> Rows:
        samples = answered(run_file, prepared.samples, most=STEPS_LOOKED_AT * each, length=length)
        return _rows(run_file, prepared, kept, source_of(run_file, samples), num_samples)

    longest = found(rollouts.max_new_tokens)
    fits = kept.most_kept - (longest.tokens - longest.sites)  # of answers' tokens, before a pass is computed again
    if kept.setting != "auto" or not 0 < fits < longest.sites:
        return longest
    shorter = found(max(1, rollouts.max_new_tokens * fits // longest.sites))
    if kept.of(shorter.tokens) <= kept.of(longest.tokens):
        return longest
    return replace(longest, tokens=shorter.tokens, sites=shorter.sites, tables=shorter.tables)


def _rows(run_file: RunFile, prepared: Prepared, kept: Kept, source: OfflineBatches, num_samples: int) -> Rows:
    """Of a run that learns from so many samples, `source` being all or the first of them."""
    training, each = run_file.training, _samples_each(run_file)
    in_all = training.steps * each if training.steps else (training.epochs or 1.0) * num_samples
    steps = math.ceil(in_all / each)
    looks = math.ceil(steps / training.heldout_every) if training.heldout_every else min(steps, LOOKS_PER_RUN)
    looked_at = min(len(prepared.heldout), HELDOUT_PROMPTS) if run_file.objective.online else len(prepared.heldout)
    found = rows_of(
        source, kept, batch_rows=each, seed=training.seed, in_all=in_all, looked_at=float(looks * looked_at)
    )
    return replace(found, rows=num_samples, steps=steps)


def _samples_each(run_file: RunFile) -> int:
    """Of an update: rows, or where answers are written, prompts."""
    rows = run_file.training.batch_rows
    return -(-rows // run_file.rollouts.group) if run_file.objective.online else rows


def rows_of(
    source: OfflineBatches, kept: Kept, *, batch_rows: int, seed: int, in_all: float, looked_at: float = 0.0
) -> Rows:
    """The pass of which most is kept among the first steps, and how much is computed in all."""
    steps = source.steps(
        batch_rows=batch_rows, seed=seed, first=0, total_samples=max(1, min(int(in_all), STEPS_LOOKED_AT * batch_rows)),
        share=lambda items: items,
    )  # fmt: skip
    batches = [batch for step in steps for batch in step.batches]
    deepest = max(batches, key=lambda batch: kept.of(len(batch.tokens_T)))
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
    kept = Kept(shape, checkpointing, precision)
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
        recompute=Kept(shape, checkpointing, precision).recomputes(rows.tokens),
        fused=fused,
        sparse=isinstance(technique, Sparse),
        survey=rows.survey,
    )


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
