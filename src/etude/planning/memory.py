"""Peak memory of a training run by term, from sizes alone.

The terms follow what the engine holds (docs/design.md, "What is kept for the backward pass"); where the peak lies
decides which of them meet: while a pass is at its deepest, or while the optimizer works, or while the model is read.

Shape letters: T tokens of one pass, S sites of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from etude.models.options import Held
from etude.planning.shape import Shape

Where = Literal["cpu", "gpu"]
Predicts = Literal["targets", "distributions", "nothing"]
PROCESS_BYTES: Mapping[Where, float] = {"cpu": 0.50e9, "gpu": 0.6e9}
"""Python, torch, transformers and what threads keep (measured on a CPU); a GPU's context."""
HELD_BYTES: Mapping[Held, float] = {"nf4": 0.5 + 4 / 64, "nf4-double": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a weight; 8 bits have a factor a row besides, which does not count."""
CHUNK_NUMBERS = 1 << 24
"""Logits at once, as in scoring."""
KEPT_TABLE = 1 << 25
"""Attention weights of a layer and group up to which they are kept for the backward pass, as in attention."""
SPELLED_AT_ONCE = 1 << 23
"""Numbers of a weight in few bits that are spelled out at once without kernels, as in quantisation."""
SPELLED_BYTES = 9.0
"""Of such a number on the way: its code in 8 and in 32 bits, and float32."""
DISTRIBUTION_BYTES = 30.0
"""Of a logit of which student and teacher each make a distribution: float32 logits and logarithms of both, and three
between them and the divergence."""
SLACK = 0.16
"""Of what a pass computes: freed memory that does not fit the next request (fitted to `python -m bench planned`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What decides the memory of a run beside its model."""

    where: Where = "cpu"
    bytes_a_number: int = 2
    """Of weights and activations."""
    held: Held | None = None
    trainable: int
    """Numbers that learn."""
    in_place: bool = False
    """Whether they are the base's own."""
    sparse: bool = False
    """Whether they are few of each of the base's weights: learned apart from these, each with its place."""
    ranks: int = 0
    """Ranks of all adapters of a layer together, per decoder layer."""
    tokens: int
    """Of the largest pass."""
    sites: int
    """Learned predictions in it."""
    tables: tuple[int, ...] = ()
    """Attention weights of a layer, by group of siblings: a CPU without kernels for blocks makes tables of them."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass."""
    keeps_best: bool = True
    fused: bool = True
    """Whether the model goes the fused way; else each linear layer keeps its own input."""
    predicts: Predicts = "targets"
    """What is made of the sites: the probability of one token, whole distributions beside a teacher's, or no logits."""
    reads_base_again: bool = False
    """Whether the model before training, a reference, is read from its files again for each pass."""
    survey: Survey | None = None
    """The pass by whose gradients a technique chooses what learns."""
    second_models: Mapping[str, float] = field(default_factory=dict)
    """Bytes of models beside the one that learns, by what they are for."""
    writing: Writing | None = None
    """How answers to learn from are written here."""
    quiet_tokens: int = 0
    """Of the largest pass between updates that needs no gradient: scores of answers, a reward model's."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A pass whose gradients are looked at and thrown away."""

    tokens: int
    sites: int
    sums_a_weight: float
    """Bytes that are kept of each weight of the linear layers."""


@dataclass(frozen=True, slots=True)
class Writing:
    """Answers that are written together."""

    rows: int
    cached: int
    """Tokens whose keys and values are held at once."""
    read: int
    """Most tokens of prompts that are computed at once."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that are held at once, by term, in each phase of a run; the peak is that of the largest phase."""

    phases: Mapping[str, Mapping[str, float]]

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=self.of)

    @property
    def peak(self) -> float:
        return self.of(self.peak_phase)

    @property
    def terms(self) -> Mapping[str, float]:
        """What is held at the peak."""
        return self.phases[self.peak_phase]

    @property
    def largest(self) -> str:
        """The term to cut first."""
        return max((name for name in self.terms if name != "process"), key=lambda name: self.terms[name])

    def of(self, phase: str) -> float:
        """All terms of a phase together."""
        return sum(self.phases[phase].values())


def memory_of(shape: Shape, work: Work) -> Memory:
    """The peak of a training run."""
    process, weights = {"process": PROCESS_BYTES[work.where]}, {"weights": _weights(shape, work)}
    learning = {
        **process,
        **weights,
        "learned": _learned(work),
        "optimizer": _optimizer(work),
        "best weights": (work.bytes_a_number if _own(work) else 4.0) * work.trainable * work.keeps_best,
        **work.second_models,
    }
    phases = {}
    if work.where == "cpu":  # a GPU gets weights that are ready: they are converted on the way there
        phases["loading"] = {**process, **weights, **_loading(shape, work)}
    if work.survey is not None:
        phases["choosing"] = {**process, **weights, **_choosing(shape, work, work.survey)}
    if work.writing is not None:
        phases["answering"] = {**learning, **_answering(shape, work, work.writing)}
    if work.quiet_tokens:
        phases["scoring"] = {**learning, "activations": _passing(shape, work, work.quiet_tokens)}
    if work.reads_base_again:
        phases["reference"] = {**learning, **_reading_base(shape, work)}
    gradients, logits = {"gradients": _gradients(shape, work)}, {"logits": _logits(shape, work, work.sites)}
    activations = {"activations": _activations(shape, work, work.tokens, ranks=work.ranks)}
    if work.where == "gpu":  # logits are gone before the layers' backward pass begins
        waiting = {"activations": _waiting(shape, work, work.tokens, ranks=work.ranks)}
        phases["predicting"] = {**learning, **gradients, **waiting, **logits}
        phases["updating"] = {**learning, **gradients, **activations}
    else:  # the heap keeps them in pieces that do not fit what comes then
        phases["updating"] = {**learning, **gradients, **activations, **logits}
    return Memory(phases)


def weights_bytes(shape: Shape, *, held: Held | None, bytes_a_number: int) -> float:
    """Of a model in memory, its linear layers in few bits if `held`."""
    linear = HELD_BYTES[held] if held else float(bytes_a_number)
    return shape.linear * linear + (shape.embedding + shape.rest) * bytes_a_number


def _weights(shape: Shape, work: Work) -> float:
    return weights_bytes(shape, held=work.held, bytes_a_number=work.bytes_a_number)


def _own(work: Work) -> bool:
    """Whether whole weights of the base learn where they are."""
    return work.in_place and not work.sparse


def _learned(work: Work) -> float:
    """Beside the base: float32 numbers; where they are few of a weight, also their places and what stood there."""
    if _own(work):
        return 0.0
    return (4.0 + (8.0 + work.bytes_a_number) * work.sparse) * work.trainable


def _optimizer(work: Work) -> float:
    """Two moments, and a float32 master of weights that are held in fewer bits."""
    masters = 4.0 if _own(work) and work.bytes_a_number < 4 else 0.0
    return (8.0 + masters) * work.trainable


def _gradients(shape: Shape, work: Work) -> float:
    if _own(work):
        return float(work.bytes_a_number * work.trainable)
    return 4.0 * work.trainable + work.sparse * work.bytes_a_number * _largest_product(shape)


def _loading(shape: Shape, work: Work) -> dict[str, float]:
    """A tensor as its file holds it, on its way into memory; where no kernel finds its few bits, three copies."""
    found = {"conversion": 4.0 * shape.largest}
    if work.held is not None and not (work.fused and work.held != "int8"):
        found["quantisation"] = 4.0 * _largest_linear(shape) * 3
    return found


def _choosing(shape: Shape, work: Work, survey: Survey) -> dict[str, float]:
    """Every linear layer's gradient, one at a time, and what is summed up of all."""
    return {
        "scores": survey.sums_a_weight * shape.linear,
        "gradients": (work.bytes_a_number + 4.0) * _largest_product(shape),
        "activations": _activations(shape, work, survey.tokens, ranks=0),
        "logits": _logits(shape, work, survey.sites),
    }


def _answering(shape: Shape, work: Work, writing: Writing) -> dict[str, float]:
    """Keys and values of all rows, and one step's logits; decoding reads plain weights."""
    a_token = 2.0 * shape.layers * shape.key_heads * shape.head_size * work.bytes_a_number
    found = {
        "key-value cache": a_token * writing.cached,
        "logits": float(work.bytes_a_number * shape.vocabulary * writing.rows),
        "activations": _passing(shape, work, writing.read),
    }
    if work.held:
        found["spelled-out weights"] = float(work.bytes_a_number * shape.linear)
    return found


def _reading_base(shape: Shape, work: Work) -> dict[str, float]:
    """What was learned is put aside while the base's weights are read beside those that they replace."""
    return {
        "learned, put aside": float(work.bytes_a_number * work.trainable),
        "reference": float(work.bytes_a_number * shape.weights),
        "gradients": _gradients(shape, work),
    }


def _activations(shape: Shape, work: Work, tokens: int, *, ranks: int) -> float:
    """What a pass keeps for its backward pass, and what the deepest layer needs besides."""
    again = _a_layer(shape, work, tokens, ranks=ranks) * (1 + SLACK) if work.recompute else 0.0
    return _waiting(shape, work, tokens, ranks=ranks) + again + _passing(shape, work, tokens)


def _waiting(shape: Shape, work: Work, tokens: int, *, ranks: int) -> float:
    """What all layers keep for the backward pass: where activations are computed again, their inputs alone."""
    inputs = float(tokens * work.bytes_a_number * shape.hidden)
    return shape.layers * (inputs if work.recompute else _a_layer(shape, work, tokens, ranks=ranks)) * (1 + SLACK)


def _a_layer(shape: Shape, work: Work, tokens: int, *, ranks: int) -> float:
    """What one layer keeps."""
    kept = 2 * shape.hidden + shape.heads * shape.head_size + shape.attention_width + 2 * shape.inner + ranks
    if not work.fused:
        kept += 2 * shape.hidden + 2 * shape.inner + shape.attention_width
    tables = sum(one for one in work.tables if one <= KEPT_TABLE) / work.tokens
    return tokens * (work.bytes_a_number * (kept + tables) + 4.0 * (2 + shape.heads))


def _passing(shape: Shape, work: Work, tokens: int) -> float:
    """What one layer needs while it is computed, whether or not a gradient will be asked for."""
    size = work.bytes_a_number
    wide = 3 * shape.inner + 3 * shape.hidden + shape.attention_width
    tables = max((one * (1 + (one > KEPT_TABLE)) for one in work.tables), default=0) / work.tokens
    return tokens * size * (wide + tables) * (1 + SLACK) + _spelled_out(shape, work)


def _spelled_out(shape: Shape, work: Work) -> float:
    """One product's weights, where they are held in few bits; kernels write them without anything on the way."""
    if work.held is None:
        return 0.0
    if work.fused:
        return float(work.bytes_a_number * _largest_product(shape))
    return float(work.bytes_a_number * _largest_linear(shape) + SPELLED_BYTES * SPELLED_AT_ONCE)


def _logits(shape: Shape, work: Work, sites: int) -> float:
    """One chunk, its gradient in the same place, float32 beside it where the kernels do not do it."""
    if work.predicts == "nothing":
        return 4.0 * sites
    if work.predicts == "distributions":
        return min(sites * shape.vocabulary, CHUNK_NUMBERS // 4) * DISTRIBUTION_BYTES + 4.0 * sites
    at_once = min(sites * shape.vocabulary, CHUNK_NUMBERS)
    return at_once * (work.bytes_a_number if work.fused else work.bytes_a_number + 8.0) + 4.0 * sites


def _largest_linear(shape: Shape) -> int:
    return max((outputs * inputs for outputs, inputs in shape.linears.values()), default=0)


def _largest_product(shape: Shape) -> int:
    """Weights of gate and up together, whose gradient is made at once."""
    return max(2 * shape.inner * shape.hidden, _largest_linear(shape))
