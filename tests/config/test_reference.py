"""The reference page and the JSON schema say what the dataclasses say."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal

import pytest

from etude.config.kinds import TABLES, kind_class
from etude.config.names import SECTIONS
from etude.config.reference import Setting, json_schema, markdown, settings
from etude.training.options import TrainOptions


@dataclass
class Example:
    """An example."""

    needed: str
    """What must
    be given."""
    choice: Literal["a", "b"] = "a"
    many: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    """Some | numbers."""
    share: float | None = None


def test_settings_are_read_from_the_dataclass() -> None:
    assert settings(Example) == (
        Setting(name="needed", type="text", default=None, says="What must be given."),
        Setting(name="choice", type="a | b", default="a", says=""),
        Setting(name="many", type="list of whole number", default="[1, 2]", says="Some | numbers."),
        Setting(name="share", type="number or null", default="null", says=""),
    )


def test_the_page_names_every_setting() -> None:
    page = markdown()
    for name, section in SECTIONS.items():
        assert f"## `{name}`" in page
        if is_dataclass(section.type):
            assert all(f"| `{item.name}` |" in page for item in fields(section.type))
    for section in TABLES:
        for kind in TABLES[section]:
            assert f"### `kind: {kind}`" in page
    assert "| `learning_rate` | number | `0.0002` | Peak learning rate. |" in page
    assert "| `train` | text | **required** |" in page


@pytest.mark.parametrize("section", [name for name, section in SECTIONS.items() if section.type is not str])
def test_settings_of_the_run_file_are_explained(section: str) -> None:
    options = SECTIONS[section].type if section not in TABLES else None
    chosen = [options] if options else [kind_class(section, kind) for kind in TABLES[section]]
    silent = [
        f"{section}.{setting.name}"
        for options in chosen
        if options is not None and is_dataclass(options)
        for setting in settings(options)
        if not setting.says and setting.name not in ("kind", "beta1", "beta2")
    ]
    assert not silent


def test_the_schema_refuses_what_the_decoder_refuses() -> None:
    schema = json_schema()
    assert schema["required"] == ["model", "data"]
    assert schema["additionalProperties"] is False
    training = schema["properties"]["training"]
    assert training["additionalProperties"] is False
    assert training["properties"].keys() == {item.name for item in fields(TrainOptions)}
    assert training["properties"]["learning_rate"]["description"] == "Peak learning rate."
    assert training["properties"]["schedule"]["enum"] == ["cosine", "linear", "constant", "rising"]
    kinds = [option["properties"]["kind"]["const"] for option in schema["properties"]["technique"]["anyOf"][0]["oneOf"]]
    assert kinds == list(TABLES["technique"])
