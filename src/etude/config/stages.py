"""A run file of several stages: each a run of its own that may start from another's model or be rewarded by it.

output: runs/rlhf
model: smollm2-135m-instruct      # what all stages share
stages:
  sft: {data: {train: answers.jsonl}}
  reward: {model: stage:sft, data: {train: pairs.jsonl}, objective: reward}
  ppo: {model: stage:sft, objective: ppo, rollouts: {rewards: [{kind: model, run: stage:reward}]}, …}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etude import yaml_text
from etude.config.decode import NEEDS, Decoder
from etude.config.names import SECTIONS
from etude.config.run_file import RunFile
from etude.errors import ConfigError
from etude.yaml_text import Document, Plain, Where

STAGES = "stages"
MARK = "stage:"


@dataclass(frozen=True, slots=True)
class Stage:
    """One run among several."""

    name: str
    path: Path
    document: Document
    """As if the stage were a file of its own."""
    overrides: tuple[str, ...]
    earlier: tuple[str, ...]
    """Folders of the runs before it."""

    def load(self, *, begun: bool = True) -> RunFile:
        """Its run file; while the stages before it have not `begun` their folders need not be there.

        Raises:
            Problems: everything that is wrong with it.
        """
        assert isinstance(self.document.value, dict)
        not_yet = () if begun else self.earlier
        decoder = Decoder(path=self.path, document=self.document, of=self.name, not_yet=not_yet)
        return decoder.run_file(self.document.value, self.overrides, check_files=True)


def load_stages(path: str | Path, overrides: Sequence[str] = ()) -> list[Stage] | None:
    """The stages of a run file in their order; None for a file without any.

    `overrides` are settings of one stage (`ppo.training.steps=10`), of all (`training.seed=1`), or the common `output`.

    Raises:
        ConfigError: a stage that is no mapping, or a mention of one that does not come before.
    """
    path = Path(path)
    document = yaml_text.parse(yaml_text.read_text(path, needs=NEEDS), where=str(path))
    if not isinstance(document.value, dict) or STAGES not in document.value:
        return None
    common = {name: value for name, value in document.value.items() if name not in (STAGES, "output")}
    trees = document.value[STAGES]
    if not isinstance(trees, dict) or not trees or not all(isinstance(tree, dict) for tree in trees.values()):
        raise ConfigError("expected a mapping of names to run files", where=f"{path}: {STAGES}")
    output = str(document.value.get("output") or f"runs/{path.name.split('.')[0]}")
    output = next((text.partition("=")[2] for text in overrides if text.startswith("output=")), output)
    overrides = [text for text in overrides if not text.startswith("output=")]
    _refuse_unknown(overrides, [str(name) for name in trees], path)
    places = {str(name): str(Path(output).absolute() / str(name)) for name in trees}
    found: list[Stage] = []
    for name, tree in ((str(name), tree) for name, tree in trees.items()):
        assert isinstance(tree, dict)
        earlier = {stage.name: places[stage.name] for stage in found}
        whole = _placed(_merged(common, tree), earlier, where=f"{path}: {STAGES}.{name}")
        assert isinstance(whole, dict)
        whole["output"] = str(Path(output) / name)
        lines = _own_lines(document.lines, name)
        shown = Document(value=whole, problems=document.problems, lines=lines)
        found.append(Stage(name, path, shown, _own(overrides, name), tuple(earlier.values())))
    return found


def _refuse_unknown(overrides: Sequence[str], stages: Sequence[str], path: Path) -> None:
    for text in overrides:
        first = text.partition("=")[0].partition(".")[0]
        if first not in stages and first not in SECTIONS:
            raise ConfigError(
                f"{first!r} is neither a stage nor a section", where="command line",
                remedy=f"the stages of {path} are {', '.join(stages)}",
            )  # fmt: skip


def _own(overrides: Sequence[str], stage: str) -> tuple[str, ...]:
    """What is said of this stage, or of all."""
    own = [text.removeprefix(f"{stage}.") for text in overrides if text.startswith(f"{stage}.")]
    of_all = [text for text in overrides if text.partition("=")[0].partition(".")[0] in SECTIONS]
    return (*of_all, *own)


def _merged(common: Mapping[str, Plain], own: Mapping[str, Plain]) -> dict[str, Plain]:
    """Section by section; a setting of the stage stands before the common one."""
    found = dict(common)
    for name, value in own.items():
        before = found.get(str(name))
        both = isinstance(before, dict) and isinstance(value, dict)
        found[str(name)] = {**before, **value} if both else value  # type: ignore[dict-item]  # both are mappings
    return found


def _placed(value: Plain, places: Mapping[str, str], *, where: str) -> Plain:
    """The value with every `stage:NAME` as the folder of that stage's run."""
    if isinstance(value, str) and value.startswith(MARK):
        name = value.removeprefix(MARK)
        if name not in places:
            known = ", ".join(places) or "none"
            raise ConfigError(f"{value!r} is no earlier stage (there are: {known})", where=where)
        return places[name]
    if isinstance(value, dict):
        return {key: _placed(inner, places, where=where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, places, where=where) for inner in value]
    return value


def _own_lines(lines: Mapping[Where, int], stage: str) -> dict[Where, int]:
    own = {where[2:]: line for where, line in lines.items() if where[:2] == (STAGES, stage) and len(where) > 2}
    return {**{where: line for where, line in lines.items() if where[:1] != (STAGES,)}, **own}
