"""Who is measured for advice: base models, what they become by training, and endpoints; opened when first asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from etude import durable, yaml_text
from etude.config import RunFile, dump, load_run_file
from etude.cycle.advise_rows import AdviceRows
from etude.cycle.arms import Answerer, Measuring
from etude.cycle.askers import Asker, LocalAsker, cost_here, cost_there, endpoint_asker
from etude.cycle.fine_tune import fine_tune
from etude.cycle.same import decisive
from etude.cycle.subjects import open_subject, subject_hash
from etude.endpoints.exchange import Ask
from etude.evaluation.report import Report
from etude.json_values import json_sha256
from etude.models.loaded import Subject
from etude.runs.directory import RunDirectory, is_run

HOLDOUT = 0.05
DEFAULTS: dict[str, yaml_text.Plain] = {
    "technique": {"kind": "lora", "rank": 16, "alpha": 32},
    "training": {"epochs": 3, "learning_rate": 1e-3, "batch_rows": 16, "warmup_share": 0.05},
    "evaluation": {"base": False, "retention": [], "drift_rows": 0},
}


@dataclass
class Answerers:
    """Models on this machine, one of them in memory at a time."""

    measuring: Measuring
    rows: AdviceRows
    out: Path
    overrides: Sequence[str]
    opened: dict[str, Subject] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def base(self, model: str) -> Answerer:
        """A model as it is."""
        return Answerer(name=model, identity=self._hash(model), open=partial(self._open, model), cost=self._cost)

    def tuned(self, model: str, size: int) -> Answerer:
        """What it becomes by learning from so many rows."""
        run_file = self.training(model, size)
        run = RunDirectory(Path(run_file.output))
        return Answerer(
            name=model,
            identity=self._made_of(run_file, model),
            open=partial(self._trained, run_file, model, size),
            cost=self._cost,
            rows=size,
            training_seconds=lambda: float(run.manifest().timings.get("train", 0.0)),
        )

    def training(self, model: str, size: int) -> RunFile:
        """The training's settings: defaults, with the overrides applied; its run is named after what it is made of.

        Raises:
            Problems: what is wrong with the settings.
        """
        train = self.rows.first(size, self.out)
        path, local = self.out / "base.yaml", Path(model).absolute()
        data: yaml_text.Plain = {"train": str(train.absolute()), "holdout": HOLDOUT}
        text = yaml_text.dump({"model": str(local) if local.exists() else model, "data": data, **DEFAULTS})
        durable.write_text(path, text)
        run_file = load_run_file(path, self.overrides)
        run = self.out / "runs" / f"{slug(model)}-{size}-{self._made_of(run_file, model)[:8]}"
        return replace(run_file, output=str(run))

    def _made_of(self, run_file: RunFile, model: str) -> str:
        """A hash of base model, rows and settings."""
        rows = Path(run_file.data.train).read_text(encoding="utf-8")
        nameless = replace(
            decisive(run_file), model=replace(run_file.model, name=""), data=replace(run_file.data, train="")
        )
        return json_sha256([self._hash(model), rows, dump(nameless)])

    def _hash(self, model: str) -> str:
        if model not in self.hashes:
            self.hashes[model] = subject_hash(model)
        return self.hashes[model]

    def _cost(self, report: Report) -> float | None:
        return cost_here(report, self.measuring.options.price_per_hour)

    def _open(self, name: str, subject: str | None = None) -> Asker:
        """A model, or the run that it became; whatever else is in memory makes room."""
        place = subject or name
        if place not in self.opened:
            self.opened.clear()
            self.measuring.show.say(f"loading {place}")
            self.opened[place] = open_subject(place)
        return LocalAsker(name, self.opened[place], self.measuring.options.batch_rows, self.measuring.show)

    def _trained(self, run_file: RunFile, model: str, size: int) -> Asker:
        """The run, trained if it is not yet."""
        run, show = RunDirectory(Path(run_file.output)), self.measuring.show
        if not (is_run(run.path) and run.state == "finished"):
            self.opened.clear()
            show.say(f"{model}: learning from {size:,} rows")
            fine_tune(run_file, command=("etude", "advise"), resume=is_run(run.path), show=show)
        return self._open(model, run_file.output)


def endpoint(file: str, measuring: Measuring, cache: Path, *, taken: Sequence[str]) -> Answerer:
    """The model behind an endpoint; where somebody has its name already, its file is named too.

    Raises:
        EtudeError: settings that are wrong, or a server that cannot be reached.
    """
    asker = endpoint_asker(file, cache, max_new_tokens=measuring.task.max_new_tokens, show=measuring.show)
    options = asker.writer.endpoint.options
    return Answerer(
        name=asker.name if slug(asker.name) not in map(slug, taken) else f"{asker.name} of {file}",
        identity=Ask(()).key(options),
        open=lambda: asker,
        cost=lambda report: cost_there(report, options),
    )


def slug(name: str) -> str:
    """A model's name as part of a file's."""
    return "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name).strip("-.") or "model"
