"""What a run will take before anything is loaded: memory by term, what fits, time, and settings to begin with."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.config import RunFile
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Quiet
from etude.data.batches import OfflineBatches
from etude.errors import ConfigError, EtudeError
from etude.models.load import precision_name
from etude.models.loaded import LoadedModel
from etude.models.options import Checkpointing, ModelOptions
from etude.models.recompute import MOST_KEPT_BYTES
from etude.models.source import cache_folder, find_folder
from etude.planning.advice import Advice, epochs, learning_rate
from etude.planning.calibration import operations_per_second
from etude.planning.hardware import EFFICIENCY, HARDWARE, Hardware
from etude.planning.memory import Memory, Work, memory_of
from etude.planning.shape import Shape, outline, shape_of
from etude.planning.time import Amount, operations
from etude.techniques.base import Technique
from etude.techniques.freeze import Freeze
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.techniques.qlora import QLoRA
from etude.techniques.sparse import Sparse
from etude.training.loop import LOOKS_PER_RUN

STEPS_LOOKED_AT = 64
FUSED = frozenset({"llama", "mistral", "qwen2"})
"""Families that go the fused way on a CPU."""


@dataclass(frozen=True, slots=True)
class Option:
    """One technique on the same rows."""

    technique: str
    trainable: int
    memory: Memory
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is expected."""

    shape: Shape
    option: Option
    """As the run file says."""
    others: tuple[Option, ...]
    """Full, LoRA and QLoRA instead."""
    room: float
    """Bytes that there are."""
    seconds: float
    speed: str
    """Where the speed is from."""
    tokens: int
    """Of the largest pass."""
    advice: tuple[Advice, ...]
    price: float | None
    """Of the run, in whatever the price per hour is in."""

    @property
    def recommended(self) -> Option | None:
        """The run file's own technique if it fits, else the first of LoRA and QLoRA that does."""
        return next((one for one in (self.option, *self.others[1:]) if one.fits), None)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the prepared rows ask of a pass, and of the whole run."""

    tokens: int
    sites: int
    context: float
    amount: Amount
    rows: int


def plan(
    run_file: RunFile,
    *,
    hardware: str | None = None,
    memory_bytes: float | None = None,
    config_path: str | None = None,
    price_per_hour: float | None = None,
) -> Plan:
    """The expected cost of a run, by the sizes of its model and the rows that it would learn.

    Raises:
        EtudeError: a model, device or data set that is not known.
    """
    device = _device(hardware)
    model = _fresh(run_file.model, config_path)
    shape = shape_of(model.module, name=model.name)
    rows = _rows(run_file)
    precision = "bfloat16" if device else precision_name(run_file.model.precision)
    room = memory_bytes or (device.memory_gb * 1e9 if device else _free_memory())
    checkpointing = run_file.model.activation_checkpointing
    keeps_best = bool(run_file.data.holdout) and run_file.training.keep_best

    def work_of(technique: Technique) -> Work:
        outlined = _fresh(run_file.model, config_path)
        found = _work(technique, shape, outlined, rows, precision, checkpointing, gpu=device is not None)
        return replace(found, keeps_best=keeps_best)

    work = work_of(run_file.technique)
    option = _option(run_file.technique, shape, work, room)
    others = tuple(_option(one, shape, work_of(one), room) for one in (Full(), LoRA(), QLoRA()))
    if device:
        speed, said = device.teraflops * 1e12 * EFFICIENCY, f"{EFFICIENCY:.0%} of {device.teraflops:g} TFLOP/s"
    else:
        speed = operations_per_second(cache_folder().parent, precision=precision)
        said = f"{speed / 1e12:.2f} TFLOP/s measured here"
    seconds = operations(shape, work, rows.amount) / speed
    kind = str(getattr(run_file.technique, "kind", ""))
    return Plan(
        shape=shape,
        option=option,
        others=others,
        room=room,
        seconds=seconds,
        speed=said,
        tokens=rows.tokens,
        advice=(learning_rate(kind, shape.weights), epochs(rows.rows)),
        price=None if price_per_hour is None else price_per_hour * seconds / 3600,
    )


def _device(name: str | None) -> Hardware | None:
    if name is None:
        return None
    if name.lower() not in HARDWARE:
        raise ConfigError(f"{name!r} is not known", where="--hardware", remedy=f"known are {', '.join(HARDWARE)}")
    return HARDWARE[name.lower()]


def _fresh(options: ModelOptions, config_path: str | None) -> LoadedModel:
    """The model's outline, to which a technique can be attached without memory."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    where = config_path or str(find_folder(options.name, revision=options.revision))
    try:
        config = AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ConfigError(f"no model config ({str(error).splitlines()[0]})", where=where) from error
    tokenizer: Any = None
    return LoadedModel(
        name=where if config_path else options.name,
        module=outline(config),
        tokenizer=tokenizer,
        folder=Path(where),
        base_hash="",
        way="fused" if config.model_type in FUSED else "tree",
    )


def _rows(run_file: RunFile) -> Rows:
    prepared = prepare_rows(run_file, Quiet(), quarantine=None)
    source = OfflineBatches(
        samples=prepared.samples, tokens=run_file.data.tokens_at_once, share_prefixes=run_file.data.share_prefixes
    )
    training = run_file.training
    in_all = training.steps * training.batch_rows if training.steps else (training.epochs or 1.0) * source.num_samples
    looks = LOOKS_PER_RUN * len(prepared.heldout)
    return rows_of(source, batch_rows=training.batch_rows, seed=training.seed, in_all=in_all, looked_at=looks)


def rows_of(source: OfflineBatches, *, batch_rows: int, seed: int, in_all: float, looked_at: float = 0.0) -> Rows:
    """The largest pass among the first steps, and how much is computed in all."""
    steps = source.steps(
        batch_rows=batch_rows, seed=seed, first=0, total_samples=min(int(in_all), STEPS_LOOKED_AT * batch_rows),
        share=lambda items: items,
    )  # fmt: skip
    batches = [batch for step in steps for batch in step.batches]
    largest = max(batches, key=lambda batch: len(batch.tokens_T))
    seen = sum(len(batch.sample_ids) for batch in batches)
    computed, sites = (sum(len(getattr(b, name)) for b in batches) for name in ("tokens_T", "site_S"))
    context = sum(float(batch.position_T.double().sum()) for batch in batches) / computed + 1
    a_row = computed / seen
    amount = Amount(
        tokens=a_row * in_all, sites=sites / seen * in_all, context=context, reference_tokens=a_row * looked_at
    )
    return Rows(len(largest.tokens_T), len(largest.site_S), context, amount, source.num_samples)


def predicted_peak(technique: Technique, source: OfflineBatches, options: ModelOptions, *, batch_rows: int) -> float:
    """Bytes at the peak of training on these samples without held-out rows, on this machine."""
    model = _fresh(options, None)
    shape = shape_of(model.module, name=options.name)
    rows = rows_of(source, batch_rows=batch_rows, seed=0, in_all=source.num_samples)
    work = _work(technique, shape, model, rows, precision_name(options.precision), options.activation_checkpointing)
    return memory_of(shape, replace(work, keeps_best=False)).peak


def _option(technique: Technique, shape: Shape, work: Work, room: float) -> Option:
    memory = memory_of(shape, work)
    return Option(str(getattr(technique, "kind", "")), work.trainable, memory, memory.peak <= room)


def _work(
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
    trainable, in_place = _trainable(technique, model)
    ranks = 0
    if isinstance(technique, LoRA):
        ranks = sum(technique.rank_of(name) for name in shape.linears) // shape.layers
    return Work(
        where="gpu" if gpu else "cpu",
        bytes_a_number=2 if precision == "bfloat16" else 4,
        held=technique.base_held_as,
        trainable=trainable,
        in_place=in_place,
        ranks=ranks,
        tokens=rows.tokens,
        sites=rows.sites,
        seen=2 * rows.context,
        recompute=_recomputes(shape, rows.tokens, checkpointing, precision),
        fused=model.way == "fused" and not gpu and _stays_fused(technique),
        dense_gradients=not isinstance(technique, Sparse),
    )


def _recomputes(shape: Shape, tokens: int, setting: Checkpointing, precision: str) -> bool:
    """As `models.recompute` decides on a CPU."""
    a_token = shape.layers * (5 * shape.hidden + 2 * shape.inner) * (2 if precision == "bfloat16" else 4)
    return setting == "always" or (setting == "auto" and tokens * a_token > MOST_KEPT_BYTES)


def _stays_fused(technique: Technique) -> bool:
    """Whether the fused way knows what the technique attaches."""
    kind = getattr(technique, "kind", "")
    return kind not in ("adapter", "ia3", "peft") and not getattr(technique, "dora", False)


def _trainable(technique: Technique, model: LoadedModel) -> tuple[int, bool]:
    """Numbers that learn, and whether they are the base's own; where weights are chosen by data, their share."""
    if isinstance(technique, Sparse):
        linear = sum(outputs * inputs for outputs, inputs in shape_of(model.module, name="").linears.values())
        return round(technique.share * linear), True
    if isinstance(technique, Freeze) and technique.choose is not None:
        return round(technique.share * shape_of(model.module, name="").linear), True
    asked = technique
    if isinstance(technique, LoRA):
        asked = replace(technique, start="zero", dora=False)
    own = {id(parameter) for parameter in model.module.parameters()}
    try:
        trainable = attach(asked, model).trainable
    except (RuntimeError, NotImplementedError) as error:  # a method that starts from numbers, which an outline lacks
        raise EtudeError(f"cannot be planned: {error}", where="technique.kind") from error
    return sum(one.numel() for one in trainable.values()), any(id(one) in own for one in trainable.values())


def _free_memory() -> float:
    """What this machine can still give."""
    path = Path("/proc/meminfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
