"""What a run will take before anything is loaded: memory by term, what fits, time, and settings to begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from etude.config import RunFile
from etude.cycle.foresee import Kept, Rows, keeps_best, rows_of_run, work_of
from etude.cycle.foresee_objective import with_objective
from etude.cycle.outlines import Begun, fresh
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Quiet
from etude.errors import ConfigError
from etude.models.load import precision_name
from etude.models.machine import free_memory
from etude.models.source import cache_folder
from etude.planning.advice import Advice, epochs, learning_rate
from etude.planning.calibration import operations_per_second
from etude.planning.hardware import EFFICIENCY, HARDWARE, Hardware
from etude.planning.memory import Memory, Work, memory_of
from etude.planning.shape import Shape, shape_of
from etude.planning.time import operations
from etude.techniques.base import Technique
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.techniques.qlora import QLoRA


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
    """Of the deepest pass."""
    answers: str | None
    """How much is written to learn from, for objectives that do."""
    advice: tuple[Advice, ...]
    price: float | None
    """Of the run, in whatever the price per hour is in."""

    @property
    def recommended(self) -> Option | None:
        """The run file's own technique if it fits, else the first of LoRA and QLoRA that does."""
        return next((one for one in (self.option, *self.others[1:]) if one.fits), None)


def plan(
    run_file: RunFile,
    *,
    hardware: str | None = None,
    memory_bytes: float | None = None,
    config_path: str | None = None,
    price_per_hour: float | None = None,
    begun: Begun | None = None,
) -> Plan:
    """The expected cost of a run, by the sizes of its model and the rows that it would learn.

    `begun` are the stages before it, which need not be there yet.

    Raises:
        EtudeError: a model, device or data set that is not known.
    """
    begun = begun or Begun({})
    device = _device(hardware)
    options = begun.plain(run_file.model)
    model = fresh(options, config_path)
    shape = shape_of(model.module, name=model.name)
    precision = "bfloat16" if device else precision_name(run_file.model.precision)
    room = memory_bytes or (device.memory_gb * 1e9 if device else free_memory())
    checkpointing = run_file.model.activation_checkpointing
    prepared = prepare_rows(replace(run_file, model=options), Quiet(), quarantine=None)
    rows = rows_of_run(run_file, prepared, Kept(shape, checkpointing, precision))

    def work(technique: Technique) -> Work:
        other, outlined = replace(run_file, technique=technique), fresh(options, config_path)
        surveyed = rows if technique is run_file.technique else replace(rows, survey=None)
        found = work_of(technique, shape, outlined, surveyed, precision, checkpointing, gpu=device is not None)
        return with_objective(
            replace(found, keeps_best=keeps_best(run_file)), other, shape, begun, longest=rows.longest
        )

    asked = work(run_file.technique)
    option = _option(run_file.technique, shape, asked, room)
    others = tuple(_option(one, shape, work(one), room) for one in (Full(), LoRA(), QLoRA()))
    if device:
        speed, said = device.teraflops * 1e12 * EFFICIENCY, f"{EFFICIENCY:.0%} of {device.teraflops:g} TFLOP/s"
    else:
        speed = operations_per_second(cache_folder().parent, precision=precision)
        said = f"{speed / 1e12:.2f} TFLOP/s measured here"
    seconds = operations(shape, asked, rows.amount) / speed
    price = run_file.planning.price_per_hour if price_per_hour is None else price_per_hour
    kind = str(getattr(run_file.technique, "kind", ""))
    return Plan(
        shape=shape,
        option=option,
        others=others,
        room=room,
        seconds=seconds,
        speed=said,
        tokens=rows.tokens,
        answers=_answers(run_file, asked, rows),
        # The sources speak of rows that are there to be learned.
        advice=() if run_file.objective.online else (learning_rate(kind, shape.weights), epochs(rows.rows)),
        price=None if price is None else price * seconds / 3600,
    )


def _answers(run_file: RunFile, work: Work, rows: Rows) -> str | None:
    """In words; how long they take to write depends on how soon they end."""
    rollouts, training = run_file.rollouts, run_file.training
    if not run_file.objective.online:
        return None
    answers = (
        training.steps * training.batch_rows
        if training.steps
        else (training.epochs or 1.0) * rows.rows * rollouts.group
    )
    answers *= (1 + rollouts.redraw) / rollouts.updates
    at_once = "elsewhere" if work.writing is None else f"{work.writing.rows} at once"
    return f"up to {answers:,.0f} answers of up to {rollouts.max_new_tokens} tokens, {at_once}"


def _device(name: str | None) -> Hardware | None:
    if name is None:
        return None
    if name.lower() not in HARDWARE:
        raise ConfigError(f"{name!r} is not known", where="--hardware", remedy=f"known are {', '.join(HARDWARE)}")
    return HARDWARE[name.lower()]


def _option(technique: Technique, shape: Shape, work: Work, room: float) -> Option:
    memory = memory_of(shape, work)
    return Option(str(getattr(technique, "kind", "")), work.trainable, memory, memory.peak <= room)
