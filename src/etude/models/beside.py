"""A second model on the weights of one that is in memory: a reward model or a teacher beside the policy."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

from etude.models.layers.attached import Attached
from etude.models.loaded import LoadedModel


def beside(model: LoadedModel) -> LoadedModel:
    """The model without what is attached to it, with layers of its own around the same weights.

    What is attached to one of the two is not seen by the other, and no weight is held twice; so neither may change the
    weights that both read.
    """
    module = model.module
    tensors = (*module.parameters(), *module.buffers())
    shared: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    shared |= {id(layer): layer.base for layer in module.modules() if isinstance(layer, Attached)}
    return replace(model, module=deepcopy(module, shared), value_head=None)
