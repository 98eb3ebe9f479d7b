"""What the prepared rows of a run will take of memory and time, from the model's outline alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etude.config import RunFile, load_run_file
from etude.data.batches import OfflineBatches
from etude.data.prepare import Prepared
from etude.errors import ConfigError, EtudeError
from etude.models.load import own_device, precision_name
from etude.models.loaded import LoadedModel
from etude.models.options import Checkpointing, ModelOptions
from etude.models.recompute import MOST_KEPT_BYTES
from etude.models.source import cache_folder, find_folder
from etude.planning.calibration import known_operations_per_second, remember
from etude.planning.machine import free_memory
from etude.planning.memory import Memory, Work, memory_of
from etude.planning.shape import Shape, outline, shape_of
from etude.planning.time import Amount, operations
from etude.runs.directory import is_run, open_run
from etude.runs.manifest import Cost
from etude.techniques.base import Technique
from etude.techniques.freeze import Freeze
from etude.techniques.lora import LoRA
from etude.techniques.policy import attach
from etude.techniques.sparse import Sparse
from etude.training.loop import LOOKS_PER_RUN

STEPS_LOOKED_AT = 64
FUSED = frozenset({"llama", "mistral", "qwen2"})
"""Families that go the fused way on a CPU."""
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
    model = fresh(run_file.model, None)
    shape = shape_of(model.module, name=model.name)
    rows = rows_of_run(run_file, prepared)
    work = work_of(
        run_file.technique,
        shape,
        model,
        rows,
        precision_name(run_file.model.precision),
        run_file.model.activation_checkpointing,
        gpu=own_device().type == "cuda",
    )
    work = with_objective(replace(work, keeps_best=keeps_best(run_file)), run_file, shape, rows)
    memory = memory_of(shape, work)
    return Foreseen(model.module.config, shape, work, memory, operations(shape, work, rows.amount), free_memory())


def with_objective(work: Work, run_file: RunFile, shape: Shape, rows: Rows) -> Work:
    """What the objective holds besides: other models, and keys and values while answers are written."""
    objective, rollouts = run_file.objective, run_file.rollouts
    others: dict[str, int] = {}
    if objective.needs_teacher:
        others["teacher"] = shape.weights  # of this model's size, until its own config says otherwise
    if objective.needs_reference and work.in_place:
        others["reference"] = work.trainable
    if not objective.online:
        return replace(work, second_models=others)
    for place, one in enumerate(rollouts.rewards):
        if one.kind == "model" and not _shares_base(str(one.run), run_file):
            others[f"reward model {place}"] = shape.weights
        if one.judge is not None and one.judge.model is not None:
            others[f"judge {place}"] = shape.weights
    answers = run_file.training.batch_rows
    longest = rows.longest + rollouts.max_new_tokens
    tokens = min(
        run_file.data.tokens_at_once, answers // rollouts.group * rows.longest + answers * rollouts.max_new_tokens
    )
    learned = min(tokens, answers * rollouts.max_new_tokens)
    written = 0 if rollouts.vllm is not None else min(answers, rollouts.batch_rows) * longest
    return replace(work, second_models=others, cache_tokens=written, tokens=tokens, sites=learned)


def _shares_base(reward_run: str, run_file: RunFile) -> bool:
    """Whether a reward model will stand on the policy's weights, as far as its run file tells."""
    folder = Path(reward_run)
    if not is_run(folder):
        return False
    other = load_run_file(open_run(folder).run_file, check_files=False)
    return (
        other.model == run_file.model
        and other.technique.keeps_base
        and run_file.technique.keeps_base
        and other.technique.base_held_as == run_file.technique.base_held_as
    )


def keeps_best(run_file: RunFile) -> bool:
    """Whether the best weights are held beside the newest."""
    return bool(run_file.data.holdout) and run_file.training.keep_best


def fresh(options: ModelOptions, config_path: str | None) -> LoadedModel:
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


def rows_of_run(run_file: RunFile, prepared: Prepared) -> Rows:
    """Of all updates of a run, held-out looks included."""
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
    longest = max(int(batch.position_T.max()) for batch in batches) + 1
    return Rows(len(largest.tokens_T), len(largest.site_S), context, amount, source.num_samples, longest)


def predicted_peak(technique: Technique, source: OfflineBatches, options: ModelOptions, *, batch_rows: int) -> float:
    """Bytes at the peak of training on these samples without held-out rows, on this machine."""
    model = fresh(options, None)
    shape = shape_of(model.module, name=options.name)
    rows = rows_of(source, batch_rows=batch_rows, seed=0, in_all=source.num_samples)
    work = work_of(technique, shape, model, rows, precision_name(options.precision), options.activation_checkpointing)
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
