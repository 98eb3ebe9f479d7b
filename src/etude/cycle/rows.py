"""The rows of a run: read, split, rendered and checked once, then taken from where an earlier run left them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.config import RunFile
from etude.cycle.show import Show
from etude.cycle.steps import do_steps
from etude.data.alike import near_pairs, num_known
from etude.data.cache import Cache, cache_key, tokenizer_sha256
from etude.data.check import quarantine as write_quarantine
from etude.data.prepare import Prepared, prepare
from etude.data.read import Content, Records, content_of, read
from etude.data.render import Renderer
from etude.data.split import split
from etude.errors import DataError
from etude.models.load import load_tokenizer
from etude.runs.store import home

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prepare_rows(run_file: RunFile, show: Show, *, quarantine: Path | None) -> Prepared:
    """Everything that training needs of the data; what is said and written is the same for kept rows and new ones."""
    stepped = do_steps(run_file.data, show)
    prepared = _prepared(replace(run_file, data=stepped.data), show, quarantine)
    summary = replace(prepared.summary, steps=list(stepped.manifests))
    if stepped.manifests:
        summary = replace(summary, source=run_file.data.train)
    return replace(prepared, summary=summary)


def _prepared(run_file: RunFile, show: Show, quarantine: Path | None) -> Prepared:
    tokenizer = load_tokenizer(run_file.model.name, revision=run_file.model.revision)
    contents = {source: content_of(source) for source in _sources(run_file)}
    making = _Making(run_file, tokenizer, show, contents, quarantine)
    key = _key(run_file, tokenizer, contents)
    prepared = Cache(home() / "prepared", show.say).prepared(key, making.make)
    if not making.has_read:
        show.say(f"{run_file.data.train}: {prepared.summary.detected}")
        if prepared.bad and quarantine is not None:
            write_quarantine(quarantine, prepared.bad)
    counts = prepared.summary.tokens
    show.say(
        f"{len(prepared.samples):,} rows to learn, {len(prepared.heldout):,} held out; {counts.total:,} tokens, "
        f"{counts.learned:,} of them learned, longest row {counts.longest:,}"
    )
    return prepared


def _sources(run_file: RunFile) -> list[str]:
    return [source for source in (run_file.data.train, run_file.data.holdout) if isinstance(source, str)]


def _key(run_file: RunFile, tokenizer: PreTrainedTokenizerBase, contents: dict[str, Content]) -> str:
    # Nothing that is kept depends on these.
    batching = {"tokens_per_batch": 0, "share_prefixes": True, "trusted_pairs": None}
    return cache_key(
        settings={**asdict(run_file.data), **batching},
        contents=[asdict(content) for content in contents.values()],
        learns_from=[kind.__name__ for kind in run_file.objective.learns_from],
        seed=run_file.training.seed,
        tokenizer=tokenizer_sha256(tokenizer),
    )


@dataclass
class _Making:
    """Prepares the rows anew, if it comes to that."""

    run_file: RunFile
    tokenizer: PreTrainedTokenizerBase
    show: Show
    contents: dict[str, Content]
    quarantine: Path | None
    has_read: bool = False

    def make(self, folder: Path | None) -> Prepared:
        """The rows, their tokens in files of the folder if one is given."""
        data = self.run_file.data
        rows = self._read(data.train)
        if not self.has_read:
            self.show.say(f"{data.train}: {rows.detected}")
        self.has_read = True
        is_file = isinstance(data.holdout, str)
        if isinstance(data.holdout, str):
            kept, heldout = rows, self._read(data.holdout)
        else:
            near = None
            if data.holdout and data.near_copies:
                with self.show.progress("looking for near copies") as on_progress:
                    near = near_pairs(rows, data.near_copies, on_progress)
            kept, heldout = split(rows, data.holdout, seed=self.run_file.training.seed, near=near)
        renderer = Renderer(self.tokenizer)
        with self.show.progress("preparing rows") as on_progress:
            return prepare(
                kept,
                renderer,
                heldout=heldout,
                max_tokens=data.max_tokens,
                over_length=data.over_length,
                max_bad_share=data.max_bad_share,
                quarantine=self.quarantine,
                on_progress=on_progress,
                folder=folder,
                num_known=num_known(kept, heldout, data.near_copies) if is_file and data.near_copies else 0,
            )

    def _read(self, source: str) -> Records:
        data = self.run_file.data
        records = read(
            source,
            self.run_file.objective.learns_from,
            format=data.format,
            columns=data.columns,
            system=data.system,
            reasoning=data.reasoning,
            max_bad_share=data.max_bad_share,
            quarantine=self.quarantine,
            streams=True,
        )
        if self.contents[source].sha256 != records.sha256:
            raise DataError("changed while it was being read", where=source, remedy="start again")
        return records
