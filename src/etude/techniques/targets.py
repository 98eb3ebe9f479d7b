"""Which of a model's layers a technique takes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from etude.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from etude.models.loaded import LoadedModel

ALL_LINEAR = "all-linear"


def linear_layers(model: LoadedModel, targets: Sequence[str], *, where: str) -> list[tuple[str, nn.Linear]]:
    """The linear layers whose names end in one of the targets; `all-linear` means every one but the head.

    Raises:
        ConfigError: a target that fits no layer; `where` is the setting that named it.
        ModelError: the model has no linear layers.
    """
    from torch import nn

    from etude.models.layers.held import HeldLinear

    head = model.module.get_output_embeddings()
    named = [(name, module) for name, module in model.module.named_modules() if module is not head]
    linear = [(name, cast("nn.Linear", one)) for name, one in named if type(one) in (nn.Linear, HeldLinear)]
    last_parts = sorted({name.rsplit(".", 1)[-1] for name, _ in linear})
    if not linear:
        raise ModelError("no linear layers that can be wrapped", where=model.name, remedy="use `kind: full`")
    chosen: list[tuple[str, nn.Linear]] = []
    for target in targets:
        found = linear if target == ALL_LINEAR else [(n, m) for n, m in linear if f".{n}".endswith(f".{target}")]
        if not found:
            near = difflib.get_close_matches(target, last_parts, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"its linear layers are {', '.join(last_parts)}"
            raise ConfigError(f"{model.name} has no linear layer {target!r}", where=where, remedy=remedy)
        chosen += found
    return list(dict(chosen).items())


def last_part(name: str) -> str:
    """`q_proj` of `model.layers.0.self_attn.q_proj`."""
    return name.rsplit(".", 1)[-1]
