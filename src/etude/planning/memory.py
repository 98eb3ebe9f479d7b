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
PROCESS_BYTES: Mapping[Where, float] = {"cpu": 0.50e9, "gpu": 0.6e9}
"""Python, torch, transformers and what threads keep (measured on a CPU); a GPU's context."""
HELD_BYTES: Mapping[Held, float] = {"nf4": 0.5 + 4 / 64, "nf4-double": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a weight; 8 bits have a factor a row besides, which does not count."""
CHUNK_NUMBERS = 1 << 24
"""Logits at once, as in scoring."""
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
    ranks: int = 0
    """Ranks of all adapters of a layer together, per decoder layer."""
    tokens: int
    """Of the largest pass."""
    sites: int
    """Learned predictions in it."""
    seen: float = 0.0
    """Length of a token's row, on average: outside the fused way a CPU keeps what each token attends to."""
    recompute: bool = False
    """Whether activations are computed again in the backward pass."""
    keeps_best: bool = True
    fused: bool = True
    """Whether the model goes the fused way; else each linear layer keeps its own input."""
    dense_gradients: bool = True
    """Whether all gradients of weights in place live at once."""
    second_models: Mapping[str, int] = field(default_factory=dict)
    """Weights of a reward or value model that is no adapter on the same base, by what it is for."""
    cache_tokens: int = 0
    """Tokens whose keys and values are held at once while answers are written."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by term, and what they add up to at the peak."""

    terms: Mapping[str, float]
    peak: float

    @property
    def largest(self) -> str:
        """The term to cut first."""
        return max((name for name in self.terms if name != "process"), key=lambda name: self.terms[name])


def memory_of(shape: Shape, work: Work) -> Memory:
    """The peak of a training run."""
    terms = {
        "process": PROCESS_BYTES[work.where],
        "weights": _weights(shape, work),
        "learned": 0.0 if work.in_place else 4.0 * work.trainable,
        "optimizer": _optimizer(work),
        "gradients": _gradients(shape, work),
        "best weights": (work.bytes_a_number if work.in_place else 4.0) * work.trainable * work.keeps_best,
        "activations": _activations(shape, work),
        "logits": _logits(shape, work),
        **{name: float(work.bytes_a_number * count) for name, count in work.second_models.items()},
    }
    cache = _cache(shape, work)
    quantizing = 0.0 if work.held is None else 4.0 * _largest_linear(shape) * 3
    held = sum(terms[name] for name in ("process", "weights", "learned", "optimizer", "best weights"))
    training = held + terms["gradients"] + terms["activations"] + terms["logits"]
    # A GPU gets weights that are ready: they are converted on the way there.
    reading = terms["process"] + terms["weights"] + (4.0 * shape.largest + quantizing) * (work.where == "cpu")
    answering = held + cache + (_spelled_out(shape, work) if cache else 0.0)
    extra = sum(float(work.bytes_a_number * count) for count in work.second_models.values())
    if cache:
        terms["key-value cache"] = cache
    if quantizing:
        terms["quantisation"] = quantizing
    return Memory(terms, max(training + extra, reading, answering + extra))


def _weights(shape: Shape, work: Work) -> float:
    linear = HELD_BYTES[work.held] if work.held else float(work.bytes_a_number)
    return shape.linear * linear + (shape.embedding + shape.rest) * work.bytes_a_number


def _optimizer(work: Work) -> float:
    """Two moments, and a float32 master of weights that are held in fewer bits."""
    masters = 4.0 if work.in_place and work.bytes_a_number < 4 else 0.0
    return (8.0 + masters) * work.trainable


def _gradients(shape: Shape, work: Work) -> float:
    if not work.in_place:
        return 4.0 * work.trainable
    if work.dense_gradients:
        return float(work.bytes_a_number * work.trainable)
    return 4.0 * work.trainable + work.bytes_a_number * _largest_linear(shape)


def _activations(shape: Shape, work: Work) -> float:
    """What a pass keeps for its backward pass, and what the deepest layer needs besides."""
    size, tokens = work.bytes_a_number, work.tokens
    attention = shape.heads * shape.head_size
    kept = 2 * shape.hidden + attention + shape.attention_width + 2 * shape.inner + work.ranks
    if not work.fused:
        kept += 2 * shape.hidden + 2 * shape.inner + shape.attention_width
    attended = shape.heads * work.seen if not work.fused and work.where == "cpu" else 0.0
    floats = 2 + shape.heads
    a_layer = tokens * (size * (kept + attended) + 4.0 * floats)
    passing = tokens * size * (3 * shape.inner + 3 * shape.hidden + shape.attention_width)
    joined = size * (2 * shape.inner * shape.hidden) if work.held else 0.0
    layers = a_layer + shape.layers * tokens * size * shape.hidden if work.recompute else shape.layers * a_layer
    return (layers + passing) * (1 + SLACK) + joined


def _logits(shape: Shape, work: Work) -> float:
    """One chunk, its gradient in the same place, float32 beside it where the kernels do not do it."""
    at_once = min(work.sites * shape.vocabulary, CHUNK_NUMBERS)
    return at_once * (work.bytes_a_number if work.fused else work.bytes_a_number + 8.0) + 4.0 * work.sites


def _cache(shape: Shape, work: Work) -> float:
    return 2.0 * shape.layers * shape.key_heads * shape.head_size * work.cache_tokens * work.bytes_a_number


def _spelled_out(shape: Shape, work: Work) -> float:
    """Decoding reads plain weights."""
    return float(work.bytes_a_number * shape.linear) if work.held else 0.0


def _largest_linear(shape: Shape) -> int:
    return max((outputs * inputs for outputs, inputs in shape.linears.values()), default=0)
