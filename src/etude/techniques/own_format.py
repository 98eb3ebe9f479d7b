"""How adapters are described that PEFT has no format for: the technique's own settings under one key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel

KEY = "etude_technique"


def described_by(technique: Any, model: LoadedModel) -> dict[str, Any]:
    """The config file of an adapter that only Etude reads."""
    return {"base_model_name_or_path": model.name, KEY: asdict(technique)}


def settings_in(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The technique's settings in a config file, its `kind` among them; None where it is another tool's."""
    found = config.get(KEY)
    return dict(found) if isinstance(found, Mapping) else None
